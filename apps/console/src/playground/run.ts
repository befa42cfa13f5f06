import { type Signal, signal } from '@preact/signals';
import { authorization, noteStatus } from './api-key.ts';
import {
  type AnswerToken,
  type CallPart,
  type Chunk,
  type Fault,
  parseChunk,
  readRefusal,
  type Usage,
} from './chunk.ts';
import { SseParser } from './sse.ts';

/** A queued request may have to wait; after this long without a byte, it has been lost. */
const SILENCE_DEADLINE_MS = 120_000;
/** Traces kept for the picture; beyond this many tokens only the text continues. */
const TRACES_KEPT = 4_096;
/** Calls kept of one answer. */
const CALLS_KEPT = 128;

/** One request with its answer so far. */
export interface Run<Body> {
  state: 'running' | 'finished' | 'stopped' | 'failed';
  body: Body;
  text: string;
  reasoning: string;
  /** Counted here until the server's own count comes with the last chunk. */
  reasoningTokens: number;
  calls: CallPart[];
  tokens: AnswerToken[];
  finishReason: string | null;
  usage: Usage | null;
  fault: Fault | null;
  /** Names of parameters that the server ignored. */
  ignored: string | null;
  /** What the server chose to answer, where the request left that to it. */
  chosen: string | null;
  startedMs: number;
  firstMs: number | null;
  lastMs: number | null;
}

/** Time to the first token; null until it arrives. */
export function firstTokenMs({ firstMs, startedMs }: Run<unknown>): number | null {
  return firstMs === null ? null : firstMs - startedMs;
}

/** Rate from the first token to the last, as seen by the browser; null until the second. */
export function tokensPerSecond({ firstMs, lastMs, usage, tokens }: Run<unknown>): number | null {
  if (firstMs === null || lastMs === null || lastMs <= firstMs) return null;
  const count = usage?.completionTokens ?? tokens.length;
  return count > 1 ? ((count - 1) * 1000) / (lastMs - firstMs) : null;
}

/** Runs requests to one endpoint, one at a time: a new one breaks off the last. */
export class Runner<Body extends object> {
  readonly run: Signal<Run<Body> | null> = signal(null);
  readonly #path: string;
  #abort: AbortController | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  stop(): void {
    this.#abort?.abort();
  }

  /** Breaks off and forgets the last request. */
  clear(): void {
    this.stop();
    this.#abort = null;
    this.run.value = null;
  }

  /** Resolves with the run when it has ended, however it did; keeps `run` up to date until then. */
  async start(body: Body): Promise<Run<Body>> {
    this.#abort?.abort();
    const control = new AbortController();
    this.#abort = control;
    let current: Run<Body> = { ...fresh, body, startedMs: performance.now() };
    let frame = 0;
    const publish = (): void => {
      cancelAnimationFrame(frame);
      frame = 0;
      // Ignored if a newer run has replaced this one.
      if (this.#abort === control) this.run.value = current;
    };
    const show = (change: Partial<Run<Body>>): void => {
      current = { ...current, ...change };
      if (current.state !== 'running' || this.run.value?.state !== 'running') publish();
      // The page is drawn at most once per frame, however fast tokens come.
      else if (frame === 0) frame = requestAnimationFrame(publish);
    };
    show({});
    const silence = new SilenceWatch(control);
    try {
      const request = { ...body, shoal: { trace: true } };
      const finished = await stream(this.#path, request, control.signal, silence, () => current, show);
      if (!finished) show(failed('The connection closed before the answer was complete.'));
    } catch (error) {
      if (silence.isOver) show(failed(`Stopped: nothing arrived for ${SILENCE_DEADLINE_MS / 1000} s.`));
      else if (control.signal.aborted) show({ state: 'stopped' });
      else show(failed(wordsOf(error)));
    } finally {
      silence.end();
      // The error or last event may come before the server closes the connection.
      control.abort();
    }
    return current;
  }
}

const failed = (message: string) => ({ state: 'failed' as const, fault: { message, param: null } });

const fresh: Omit<Run<never>, 'body'> = {
  state: 'running',
  text: '',
  reasoning: '',
  reasoningTokens: 0,
  calls: [],
  tokens: [],
  finishReason: null,
  usage: null,
  fault: null,
  ignored: null,
  chosen: null,
  startedMs: 0,
  firstMs: null,
  lastMs: null,
};

/** Breaks a request off after a long silence. */
class SilenceWatch {
  isOver = false;
  readonly #control: AbortController;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(control: AbortController) {
    this.#control = control;
    this.heard();
  }

  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.isOver = true;
      this.#control.abort();
    }, SILENCE_DEADLINE_MS);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

/** Returns true if the answer ended properly or with an error from the server. */
async function stream(
  path: string,
  request: object,
  signal: AbortSignal,
  silence: SilenceWatch,
  current: () => Run<unknown>,
  show: (change: Partial<Run<never>>) => void,
): Promise<boolean> {
  const response = await fetch(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream', ...authorization() },
    body: JSON.stringify(request),
    signal,
  });
  noteStatus(response.status);
  if (!response.ok || !response.body) {
    const fault = readRefusal(response.status, await response.text(), response.headers.get('retry-after'));
    show({ state: 'failed', fault });
    return true;
  }
  const chosen = response.headers.get('x-shoal-model');
  show({
    ignored: response.headers.get('x-shoal-ignored-parameters'),
    chosen: chosen === null ? null : decodeURI(chosen),
  });
  const parser = new SseParser();
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return false;
    silence.heard();
    const change = takeEvents(parser.push(value), current(), performance.now());
    show(change);
    if (change.state) return true;
  }
}

type Answered = Pick<Run<never>, 'text' | 'reasoning' | 'reasoningTokens' | 'calls' | 'tokens' | 'firstMs' | 'lastMs'>;

/** Applies the events of one network read to a run, so that the page draws once for all of them. */
export function takeEvents(events: readonly string[], before: Run<unknown>, nowMs: number): Partial<Run<never>> {
  const { text, reasoning, reasoningTokens, calls, tokens, firstMs, lastMs } = before;
  const change: Answered & Partial<Run<never>> = { text, reasoning, reasoningTokens, calls, tokens, firstMs, lastMs };
  for (const data of events) {
    if (data === '[DONE]') return { ...change, state: 'finished' };
    const chunk = parseChunk(data);
    if (chunk.fault !== null) return { ...change, state: 'failed', fault: chunk.fault };
    takeAnswer(chunk, change, nowMs);
    if (chunk.finishReason !== null) change.finishReason = chunk.finishReason;
    if (chunk.usage) {
      change.usage = chunk.usage;
      change.reasoningTokens = chunk.usage.reasoningTokens ?? change.reasoningTokens;
    }
  }
  return change;
}

function takeAnswer(chunk: Chunk, change: Answered, nowMs: number): void {
  const isEmpty = chunk.text === '' && chunk.reasoning === '' && chunk.calls.length === 0 && chunk.tokens.length === 0;
  if (isEmpty) return;
  change.firstMs ??= nowMs;
  change.lastMs = nowMs;
  change.text += chunk.text;
  change.reasoning += chunk.reasoning;
  if (chunk.reasoning !== '' && chunk.text === '') change.reasoningTokens += chunk.tokens.length;
  for (const part of chunk.calls) change.calls = withPart(change.calls, part);
  change.tokens = [...change.tokens, ...chunk.tokens].slice(0, TRACES_KEPT);
}

function withPart(calls: CallPart[], part: CallPart): CallPart[] {
  const at = calls.findIndex(({ index }) => index === part.index);
  const known = calls[at];
  if (!known) return calls.length < CALLS_KEPT ? [...calls, part] : calls;
  const grown = {
    ...known,
    id: known.id || part.id,
    name: known.name || part.name,
    arguments: known.arguments + part.arguments,
  };
  return calls.with(at, grown);
}

function wordsOf(error: unknown): string {
  // fetch only says "Failed to fetch" if the server is down.
  if (error instanceof TypeError)
    return 'The coordinator cannot be reached, or the connection was lost. Is it running?';
  return error instanceof Error ? error.message : String(error);
}
