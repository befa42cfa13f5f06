import { GenerationError, type GenerationErrorReason } from './generation.ts';

/** What a client waits for. */
export interface Watched {
  fail(error: GenerationError): void;
  whenEnded(listener: (error?: GenerationError) => void): void;
}

export type Outcome = 'finished' | 'cancelled' | 'failed';

export interface WatchOptions {
  signal: AbortSignal;
  timeoutMs: number;
  /** "The answer", say. */
  what: string;
  onEnded: (outcome: Outcome, error: GenerationError | undefined) => void;
}

const CANCELLED: ReadonlySet<GenerationErrorReason> = new Set(['cancelled', 'stopped']);

/** Fails what its client cancels or what takes too long, and tells how it ended. */
export function watchRequest(watched: Watched, { signal, timeoutMs, what, onEnded }: WatchOptions): void {
  const cancel = (): void => watched.fail(new GenerationError('cancelled', 'The request was cancelled.'));
  signal.addEventListener('abort', cancel, { once: true });
  const late = `${what} took more than ${timeoutMs / 1000} s.`;
  const timer = setTimeout(() => watched.fail(new GenerationError('timeout', late)), timeoutMs);
  watched.whenEnded((error) => {
    clearTimeout(timer);
    signal.removeEventListener('abort', cancel);
    onEnded(error === undefined ? 'finished' : CANCELLED.has(error.reason) ? 'cancelled' : 'failed', error);
  });
  if (signal.aborted) cancel();
}

/** Runs after this turn of the event loop, once however often it is asked for, so that requests submitted together share a pass. */
export function onceATurn(run: () => void): () => void {
  let isAsked = false;
  return () => {
    if (isAsked) return;
    isAsked = true;
    queueMicrotask(() => {
      isAsked = false;
      run();
    });
  };
}
