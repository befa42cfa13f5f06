import { constants } from 'node:os';

const STOP_SIGNALS = ['SIGINT', 'SIGTERM'] as const;
type StopName = (typeof STOP_SIGNALS)[number];

/**
 * One Ctrl-C may arrive more than once: the terminal sends it to every process in front, and npm and npx pass theirs on. A person
 * who presses it again has read what the first one did.
 */
const SAME_INTERRUPT_MS = 1_000;

export interface StopSignalsOptions {
  /** Called for a SIGTERM, or a repeated one, after the first signal. */
  onRepeat?: () => void;
  /** Called for a second Ctrl-C; ends the process by default. */
  onInsist?: () => void;
  nowMs?: () => number;
}

/**
 * Ctrl-C (SIGINT) and SIGTERM, from now until `close`. The first one aborts `signal`. Another Ctrl-C, at least a second later,
 * ends the process at once, and another SIGTERM changes nothing: those who send it have SIGKILL for that.
 */
export class StopSignals {
  readonly #abort = new AbortController();
  readonly #options: StopSignalsOptions;
  readonly #nowMs: () => number;
  #first: { name: StopName; atMs: number } | undefined;

  constructor(options: StopSignalsOptions = {}) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    for (const name of STOP_SIGNALS) process.on(name, this.#receive);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** What a shell reports for a process that the first signal ended. */
  get exitCode(): number {
    return exitCodeOf(this.#first?.name ?? 'SIGINT');
  }

  /** Resolves at the first signal. */
  async received(): Promise<void> {
    if (this.signal.aborted) return;
    await new Promise<void>((resolve) => this.signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  close(): void {
    for (const name of STOP_SIGNALS) process.off(name, this.#receive);
  }

  readonly #receive = (name: NodeJS.Signals): void => {
    if (!this.#first) {
      this.#first = { name: name as StopName, atMs: this.#nowMs() };
      this.#abort.abort(new Error('Interrupted.'));
      return;
    }
    if (this.#nowMs() - this.#first.atMs < SAME_INTERRUPT_MS) return;
    if (name === 'SIGTERM') this.#options.onRepeat?.();
    else (this.#options.onInsist ?? (() => process.exit(exitCodeOf('SIGINT'))))();
  };
}

/**
 * Lets signals end this process where it is the first of a container: Linux ignores those that such a process does not handle.
 * Elsewhere they end a process by themselves. Commands that have something to finish handle signals too, and then this does nothing.
 */
export function endAtSignalsAsFirstProcess(): void {
  if (process.pid !== 1) return;
  for (const name of STOP_SIGNALS) {
    process.on(name, () => process.listenerCount(name) === 1 && process.exit(exitCodeOf(name)));
  }
}

function exitCodeOf(name: StopName): number {
  return 128 + constants.signals[name];
}
