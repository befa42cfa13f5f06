import { computed, signal } from '@preact/signals';
import type { TokenTrace } from '@shoal/protocol';
import { authorization, noteStatus } from './api-key.ts';
import { describeRefusal, parseChunk } from './chunk.ts';
import type { CompletionBody } from './parameters.ts';
import { SseParser } from './sse.ts';

/** A queued request may wait its turn; this long without a single byte, nobody is working on it. */
const SILENCE_DEADLINE_MS = 120_000;
/** An answer's traces are kept for the picture; beyond this many tokens only the text goes on. */
export const TRACES_KEPT = 4_096;

export interface Run {
  state: 'running' | 'finished' | 'stopped' | 'failed';
  prompt: string;
  text: string;
  tokens: TokenTrace[];
  finishReason: string | null;
  usage: { promptTokens: number; completionTokens: number } | null;
  error: string | null;
  startedMs: number;
  firstMs: number | null;
  lastMs: number | null;
}

export const run = signal<Run | null>(null);
let abort: AbortController | null = null;

/** Time to the first token; null before it. */
export const firstTokenMs = computed(() => {
  const now = run.value;
  return now && now.firstMs !== null ? now.firstMs - now.startedMs : null;
});

/** From the first token to the last, as the browser saw them; null before the second. */
export const tokensPerSecond = computed(() => {
  const now = run.value;
  if (!now || now.firstMs === null || now.lastMs === null || now.lastMs <= now.firstMs) return null;
  const count = now.usage?.completionTokens ?? now.tokens.length;
  return count > 1 ? ((count - 1) * 1000) / (now.lastMs - now.firstMs) : null;
});

/** The first model that the coordinator serves; throws with words for a person. */
export async function fetchModelId(): Promise<string> {
  const response = await fetch('/v1/models', { headers: authorization(), signal: AbortSignal.timeout(10_000) });
  noteStatus(response.status);
  const body = await response.text();
  if (!response.ok) throw new Error(describeRefusal(response.status, body, null));
  const models = JSON.parse(body) as { data?: { id?: unknown }[] };
  const id = models.data?.[0]?.id;
  if (typeof id !== 'string') throw new Error('The coordinator lists no model at /v1/models.');
  return id;
}

export function stop(): void {
  abort?.abort();
}

/** Runs one completion into `run`; the outcome, also a bad one, is in there. */
export async function complete(body: CompletionBody): Promise<void> {
  abort?.abort();
  const control = new AbortController();
  abort = control;
  let current: Run = { ...fresh, prompt: body.prompt, startedMs: performance.now() };
  let frame = 0;
  const publish = (): void => {
    cancelAnimationFrame(frame);
    frame = 0;
    // A run that was replaced by a newer one has nothing to say any more.
    if (abort === control) run.value = current;
  };
  const show = (change: Partial<Run>): void => {
    current = { ...current, ...change };
    if (current.state !== 'running' || run.value?.state !== 'running') publish();
    // However fast tokens come, the page is drawn once a frame.
    else if (frame === 0) frame = requestAnimationFrame(publish);
  };
  show({});
  let silent = false;
  let watch = setTimeout(() => {}, 0);
  const heard = (): void => {
    clearTimeout(watch);
    watch = setTimeout(() => {
      silent = true;
      control.abort();
    }, SILENCE_DEADLINE_MS);
  };
  try {
    heard();
    const finished = await stream(body, control.signal, heard, () => current, show);
    if (!finished) show({ state: 'failed', error: 'The connection ended before the answer did.' });
  } catch (error) {
    if (silent) show({ state: 'failed', error: `Nothing came for ${SILENCE_DEADLINE_MS / 1000} s, so I stopped.` });
    else if (control.signal.aborted) show({ state: 'stopped' });
    else show({ state: 'failed', error: inWords(error) });
  } finally {
    clearTimeout(watch);
    // An error or the last event may come before the server hangs up.
    control.abort();
  }
}

const fresh: Run = {
  state: 'running',
  prompt: '',
  text: '',
  tokens: [],
  finishReason: null,
  usage: null,
  error: null,
  startedMs: 0,
  firstMs: null,
  lastMs: null,
};

/** True once the answer has ended properly or with an error that the server told. */
async function stream(
  body: CompletionBody,
  signal: AbortSignal,
  heard: () => void,
  current: () => Run,
  show: (change: Partial<Run>) => void,
): Promise<boolean> {
  const response = await fetch('/v1/completions', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream', ...authorization() },
    body: JSON.stringify({ ...body, shoal: { trace: true } }),
    signal,
  });
  noteStatus(response.status);
  if (!response.ok || !response.body) {
    const words = describeRefusal(response.status, await response.text(), response.headers.get('retry-after'));
    show({ state: 'failed', error: words });
    return true;
  }
  const parser = new SseParser();
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return false;
    heard();
    const change = takeEvents(parser.push(value), current());
    show(change);
    if (change.state) return true;
  }
}

/** What a batch of events changes in a run; one change per network read, so that the page draws once for all of them. */
function takeEvents(events: readonly string[], before: Run): Partial<Run> {
  const change: Partial<Run> & { tokens: TokenTrace[]; text: string } = { text: before.text, tokens: before.tokens };
  const now = performance.now();
  for (const data of events) {
    if (data === '[DONE]') return { ...change, state: 'finished' };
    const chunk = parseChunk(data);
    if (chunk.error !== null) return { ...change, state: 'failed', error: chunk.error };
    if (chunk.text !== '' || chunk.tokens.length > 0) {
      change.firstMs = change.firstMs ?? before.firstMs ?? now;
      change.lastMs = now;
      change.text += chunk.text;
      change.tokens = [...change.tokens, ...chunk.tokens].slice(0, TRACES_KEPT);
    }
    if (chunk.finishReason !== null) change.finishReason = chunk.finishReason;
    if (chunk.usage) change.usage = chunk.usage;
  }
  return change;
}

function inWords(error: unknown): string {
  // fetch says only "Failed to fetch" for a server that is not there.
  if (error instanceof TypeError) return 'The coordinator cannot be reached, or the connection broke. Is it running?';
  return error instanceof Error ? error.message : String(error);
}
