import { setTimeout as delay } from 'node:timers/promises';
import { KEYS } from './cluster-stage.ts';

const PROMPTS = ['Once upon a time', 'The little dog', 'Anna and her friend', 'It was raining', 'A big red ball'];
const MAX_TOKENS = 24;
/** A request that has not succeeded after so long, asked again and again, counts as failed. */
const GIVE_UP_MS = 60_000;
const RETRY_MS = 200;
/** Between two requests of the client that goes beyond its limit. */
const GREEDY_MS = 60;

export interface ClientCounts {
  answers: number;
  /** Requests that ended with an error and were asked again, by its kind. */
  retries: Record<string, number>;
  /** Texts that differ from the healthy run's. */
  different: string[];
  /** Requests that never succeeded, or ended with something that is no proper error. */
  failed: string[];
}

async function post(url: string, key: string, body: object): Promise<Response> {
  return fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(GIVE_UP_MS),
  });
}

const request = (prompt: string): object => ({ model: 'tiny-stories', prompt, max_tokens: MAX_TOKENS, temperature: 0 });

/** The text, or what went wrong: 'network', or the status of a proper error. Throws if an answer is neither. */
async function ask(url: string, key: string, prompt: string): Promise<{ text: string } | { error: string }> {
  let response: Response;
  let text: string;
  try {
    response = await post(url, key, request(prompt));
    text = await response.text();
  } catch {
    return { error: 'network' };
  }
  const body = JSON.parse(text) as { choices?: { text: string }[]; error?: { message: string } };
  if (response.ok && body.choices?.[0]) return { text: body.choices[0].text };
  if (body.error?.message === undefined) throw new Error(`${response.status} without an error: ${text.slice(0, 200)}`);
  return { error: String(response.status) };
}

/** The texts of an undisturbed cluster, by prompt. */
export async function healthyTexts(url: string): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const prompt of PROMPTS) {
    const answer = await ask(url, KEYS.free, prompt);
    if (!('text' in answer)) throw new Error(`A healthy cluster answers with ${answer.error}`);
    texts.set(prompt, answer.text);
  }
  return texts;
}

/** Asks one prompt after the other until `isOver`, each again until it succeeds. */
export async function runClient(
  url: string,
  healthy: ReadonlyMap<string, string>,
  counts: ClientCounts,
  isOver: () => boolean,
): Promise<void> {
  for (let n = Math.floor(Math.random() * PROMPTS.length); !isOver(); n++) {
    const prompt = PROMPTS[n % PROMPTS.length]!;
    const untilMs = performance.now() + GIVE_UP_MS;
    for (;;) {
      const answer = await ask(url, KEYS.free, prompt).catch((error: Error) => error);
      if (answer instanceof Error) {
        counts.failed.push(answer.message);
        break;
      }
      if ('text' in answer) {
        counts.answers++;
        if (answer.text !== healthy.get(prompt)) counts.different.push(`${prompt} → ${answer.text}`);
        break;
      }
      counts.retries[answer.error] = (counts.retries[answer.error] ?? 0) + 1;
      if (performance.now() > untilMs) {
        counts.failed.push(`${answer.error}, also after ${GIVE_UP_MS / 1000} s`);
        break;
      }
      await delay(RETRY_MS);
    }
  }
}

/** Asks for one token again and again with the key that has a limit. Returns how many were allowed. */
export async function runGreedy(url: string, isOver: () => boolean): Promise<number> {
  let allowed = 0;
  while (!isOver()) {
    try {
      const response = await post(url, KEYS.limited, { ...request('A'), max_tokens: 1 });
      await response.text();
      // A request whose answer was lost was counted where it came from.
      if (response.ok) allowed++;
    } catch {
      // The coordinator has ended.
    }
    await delay(GREEDY_MS);
  }
  return allowed;
}
