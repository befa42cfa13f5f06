import type { Coordinator, Core } from '../../coordinator/src/index.ts';
import { type CompletionChoice, errorSchema } from '../../coordinator/src/http/response-schema.ts';
import { answer } from '../integration/answers.ts';
import { GOLDEN } from '../integration/golden.ts';

/** Tokens of each answer. */
export const TOKENS = 48;

/** Reported for each piece of an answer. */
export interface Piece {
  /** Peers whose experts worked for it. */
  peers: readonly (string | null)[];
}

/** The coordinator reported that it stopped in mid-answer. */
export class Interrupted extends Error {}
/** The request was not taken: the coordinator is stopping or absent. */
export class Refused extends Error {}

/** Figures that a coordinator counts from its start. */
export type Counters = ReturnType<typeof countersOf>;

/** A coordinator with its clients, and its counters over all its restarts. */
export interface Stage {
  /** Changes with each restart. */
  core(): Core;
  /** One greedy answer; rejects with Interrupted or Refused while the coordinator restarts. */
  ask(prompt: number, onPiece: (piece: Piece) => void): Promise<string>;
  counters(): Counters;
  /** Stops in mid-answer and starts again at the same address; resolves when it listens. */
  restart?(): Promise<void>;
}

function countersOf({ dispatcher, swarm }: Core) {
  return {
    departed: swarm.departed,
    redispatches: dispatcher.figures.redispatches,
    hedges: dispatcher.figures.hedges,
    laps: dispatcher.figures.laps,
    local: dispatcher.figures.fallbackAssignments,
    tabs: dispatcher.figures.tabAssignments,
  };
}

/** `a` + `sign` × `b`, name by name. */
export function combined(a: Counters, b: Counters, sign: 1 | -1): Counters {
  const names = Object.keys(a) as (keyof Counters)[];
  return Object.fromEntries(names.map((name) => [name, a[name] + sign * b[name]])) as Counters;
}

/** Asks the scheduler directly: no network, no restart. */
export function coreStage(core: Core): Stage {
  return {
    core: () => core,
    counters: () => countersOf(core),
    async ask(prompt, onPiece) {
      const { ids } = await answer(core, GOLDEN[prompt]!.prompt_ids, {
        maxTokens: TOKENS,
        trace: true,
        onEvent: (event) => {
          if (event.type !== 'token') return;
          onPiece({ peers: (event.token.trace ?? []).flatMap((lap) => lap.experts.map(({ peerId }) => peerId)) });
        },
      });
      return ids.join(' ');
    },
  };
}

/**
 * Asks as clients do, over streamed HTTP. `start` listens on the port that it is given. `traced` answers name the peers
 * that worked for them, which costs the coordinator some CPU time.
 */
export async function serverStage(start: (port: number) => Promise<Coordinator>, { traced = false } = {}) {
  let coordinator = await start(0);
  const { url } = coordinator;
  const port = Number(new URL(url).port);
  let before = combined(countersOf(coordinator), countersOf(coordinator), -1);
  const stage: Stage = {
    core: () => coordinator,
    counters: () => combined(before, countersOf(coordinator), 1),
    ask: (prompt, onPiece) => askOverHttp(url, GOLDEN[prompt]!.prompt, traced, onPiece),
    async restart() {
      const last = coordinator;
      await last.close();
      before = combined(before, countersOf(last), 1);
      coordinator = await start(port);
    },
  };
  return { ...stage, url, close: () => coordinator.close() };
}

async function askOverHttp(
  url: string,
  prompt: string,
  traced: boolean,
  onPiece: (piece: Piece) => void,
): Promise<string> {
  const options = { max_tokens: TOKENS, temperature: 0, stream: true, ...(traced && { shoal: { trace: true } }) };
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tiny-stories', prompt, ...options }),
  }).catch((cause: unknown) => {
    throw new Refused(String(cause), { cause });
  });
  if (response.status === 503) throw new Refused(await response.text());
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  let text = '';
  for await (const data of dataOf(response)) {
    if (data === '[DONE]') return text;
    const event = JSON.parse(data) as { choices: CompletionChoice[] } | object;
    // In OpenAI's shape, or the parser reports what it got.
    if (!('choices' in event)) throw new Interrupted(errorSchema.parse(event).error.message);
    for (const { text: piece, shoal } of event.choices) {
      text += piece;
      const laps = shoal?.tokens.flatMap((token) => token.laps) ?? [];
      onPiece({ peers: laps.flatMap((lap) => lap.experts.map(({ peerId }) => peerId)) });
    }
  }
  throw new Error('A stream ended without [DONE] and without an error.');
}

/** The data of each server-sent event. A connection that is cut rejects. */
async function* dataOf(response: Response): AsyncGenerator<string> {
  let buffered = '';
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (buffered + text).split('\n');
    buffered = lines.pop()!;
    for (const line of lines) if (line.startsWith('data: ')) yield line.slice('data: '.length);
  }
}
