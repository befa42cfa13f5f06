import { serverSentData } from '../../../tools/demo/story.ts';
import type { PlannedRequest } from './workload.ts';

/** A request as it is sent, with a prompt's text instead of its length. */
export interface ClientRequest extends PlannedRequest {
  prompt: string;
}

/** The outcome of one request. Times are in milliseconds from when it was sent. */
export interface Outcome {
  /** HTTP status; 0 if the connection failed. */
  status: number;
  /** Value of `Retry-After`, with 429 and 503. */
  retryAfterS?: number;
  /** When it was sent, from the start of the run. */
  sentMs: number;
  /** How much later than planned it was sent: the load generator's own delay. */
  lateMs: number;
  promptTokens: number;
  tokens: number;
  /** Time to the first piece of text, and gaps between pieces; pieces that arrive together count as one. */
  ttftMs?: number;
  gapsMs: number[];
  totalMs: number;
  /** Set if the stream ended without [DONE]. */
  broken?: string;
}

/** Sends one streamed chat completion over the public API, as any client would. */
async function askOnce(
  url: string,
  model: string,
  request: ClientRequest,
  { temperature, sentMs, lateMs }: { temperature: number; sentMs: number; lateMs: number },
): Promise<Outcome> {
  const startedMs = performance.now();
  const since = (): number => performance.now() - startedMs;
  const outcome: Outcome = { status: 0, sentMs, lateMs, promptTokens: 0, tokens: 0, gapsMs: [], totalMs: 0 };
  try {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model,
        messages: [{ role: 'user', content: request.prompt }],
        max_tokens: request.answerTokens,
        temperature,
        seed: request.seed,
        stream: true,
        stream_options: { include_usage: true },
      }),
    });
    outcome.status = response.status;
    if (response.ok) await readAnswer(response.body!, outcome, since);
    else {
      outcome.retryAfterS = Number(response.headers.get('retry-after') ?? Number.NaN);
      await response.text();
    }
  } catch (error) {
    outcome.broken = String(error);
  }
  outcome.totalMs = since();
  return outcome;
}

/** Pieces closer together than this come from one pass that drafts gave several tokens. */
const TOGETHER_MS = 1;

interface Chunk {
  choices?: { delta?: { content?: string | null } }[];
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
  error?: { message: string };
}

async function readAnswer(body: ReadableStream<Uint8Array>, outcome: Outcome, since: () => number): Promise<void> {
  let lastMs: number | undefined;
  let done = false;
  for await (const data of serverSentData(body)) {
    if (data === '[DONE]') {
      done = true;
      break;
    }
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error) throw new Error(chunk.error.message);
    if (chunk.usage) {
      outcome.promptTokens = chunk.usage.prompt_tokens;
      outcome.tokens = chunk.usage.completion_tokens;
    }
    if (!chunk.choices?.[0]?.delta?.content) continue;
    const nowMs = since();
    if (lastMs === undefined) outcome.ttftMs = nowMs;
    else if (nowMs - lastMs > TOGETHER_MS) outcome.gapsMs.push(nowMs - lastMs);
    else continue;
    lastMs = nowMs;
  }
  if (!done) outcome.broken = 'the stream ended without [DONE]';
}

/** Sends each chain's requests in order, none before its time and none after the end. */
export async function askAll(
  url: string,
  model: string,
  chains: readonly (readonly ClientRequest[])[],
  { durationMs, temperature }: { durationMs: number; temperature: number },
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const startedMs = performance.now();
  const elapsed = (): number => performance.now() - startedMs;
  await Promise.all(
    chains.map(async (chain) => {
      for (const request of chain) {
        const waitMs = request.atMs - elapsed();
        if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
        if (elapsed() >= durationMs) return;
        const sentMs = elapsed();
        const lateMs = request.atMs > 0 ? Math.max(0, sentMs - request.atMs) : 0;
        const outcome = await askOnce(url, model, request, { temperature, sentMs, lateMs });
        outcomes.push(outcome);
        // A rejected client waits for its `Retry-After`; otherwise a closed loop would flood the server.
        if (outcome.status !== 200) await new Promise((resolve) => setTimeout(resolve, backOffMs(outcome)));
      }
    }),
  );
  return outcomes;
}

function backOffMs({ retryAfterS }: Outcome): number {
  return 1000 * (Number.isFinite(retryAfterS) ? retryAfterS! : 1);
}
