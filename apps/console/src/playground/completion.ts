import { computed, signal } from '@preact/signals';
import type { TokenTrace } from '@shoal/protocol';
import { authorization, noteStatus } from './api-key.ts';
import { describeRefusal, parseChunk } from './chunk.ts';
import type { CompletionBody } from './parameters.ts';
import { SseParser } from './sse.ts';

/** A queued request may have to wait; after this long without a byte, it has been lost. */
const SILENCE_DEADLINE_MS = 120_000;
/** Traces kept for the picture; beyond this many tokens only the text continues. */
const TRACES_KEPT = 4_096;

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

/** Time to the first token; null until it arrives. */
export const firstTokenMs = computed(() => {
  const now = run.value;
  return now && now.firstMs !== null ? now.firstMs - now.startedMs : null;
});

/** Rate from the first token to the last, as seen by the browser; null until the second. */
export const tokensPerSecond = computed(() => {
  const now = run.value;
  if (!now || now.firstMs === null || now.lastMs === null || now.lastMs <= now.firstMs) return null;
  const count = now.usage?.completionTokens ?? now.tokens.length;
  return count > 1 ? ((count - 1) * 1000) / (now.lastMs - now.firstMs) : null;
});

/** Returns the first model that the coordinator serves; throws an error with a message for the user. */
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

/** Runs one completion and keeps `run` up to date, including errors. */
export async function complete(body: CompletionBody): Promise<void> {
  abort?.abort();
  const control = new AbortController();
  abort = control;
  let current: Run = { ...fresh, prompt: body.prompt, startedMs: performance.now() };
  let frame = 0;
  const publish = (): void => {
    cancelAnimationFrame(frame);
    frame = 0;
    // Ignored if a newer run has replaced this one.
    if (abort === control) run.value = current;
  };
  const show = (change: Partial<Run>): void => {
    current = { ...current, ...change };
    if (current.state !== 'running' || run.value?.state !== 'running') publish();
    // The page is drawn at most once per frame, however fast tokens come.
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
    if (!finished) show({ state: 'failed', error: 'The connection closed before the answer was complete.' });
  } catch (error) {
    if (silent) show({ state: 'failed', error: `Stopped: nothing arrived for ${SILENCE_DEADLINE_MS / 1000} s.` });
    else if (control.signal.aborted) show({ state: 'stopped' });
    else show({ state: 'failed', error: inWords(error) });
  } finally {
    clearTimeout(watch);
    // The error or last event may come before the server closes the connection.
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

/** Returns true if the answer ended properly or with an error from the server. */
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

/** Applies the events of one network read to a run, so that the page draws once for all of them. */
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
  // fetch only says "Failed to fetch" if the server is down.
  if (error instanceof TypeError)
    return 'The coordinator cannot be reached, or the connection was lost. Is it running?';
  return error instanceof Error ? error.message : String(error);
}
