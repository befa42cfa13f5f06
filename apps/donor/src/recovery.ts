import type { Signal } from '@preact/signals';
import { Backoff } from './backoff.ts';
import type { DonorState } from './donor-state.ts';
import { onDevice, type Problem } from './problems.ts';

/** Whether a reload must not start work again either. */
export const isFinal = (code: string): boolean => ['removed', 'banned', 'replaced'].includes(code);

interface RecoveryHandlers {
  /** Changes the page's state. */
  set: (change: Partial<DonorState>) => void;
  /** It is time to try again. */
  onRetry: () => void;
  /** The tab doesn't come back by itself. */
  onGivenUp: (problem: Problem) => void;
}

/** What follows a problem: another attempt after a while, or the donor's turn. Keeps what the page says of it. */
export class Recovery {
  readonly #state: Signal<DonorState>;
  readonly #handlers: RecoveryHandlers;
  readonly #backoff = new Backoff();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(state: Signal<DonorState>, handlers: RecoveryHandlers) {
    this.#state = state;
    this.#handlers = handlers;
  }

  /** A new attempt begins. */
  begin(): void {
    this.stop();
    this.#handlers.set({ problem: undefined, interrupted: undefined, retryAtMs: undefined });
  }

  /** It worked: the next problem is a first one. */
  worked(): void {
    this.#backoff.reset();
  }

  /** No attempt follows. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  after(known: Problem): void {
    const { phase, device } = this.#state.value;
    const problem = onDevice(known, device);
    const interrupted = phase === 'away' || phase === 'failed' ? this.#state.value.interrupted : phase;
    if (problem.recovery !== 'auto') {
      this.#handlers.onGivenUp(problem);
      return this.#handlers.set({ phase: 'failed', problem, interrupted, retryAtMs: undefined });
    }
    const delayMs = problem.retryAfterMs ?? this.#backoff.nextDelayMs();
    this.#handlers.set({ phase: 'away', problem, interrupted, retryAtMs: performance.now() + delayMs });
    this.stop();
    this.#timer = setTimeout(() => this.#handlers.onRetry(), delayMs);
  }
}
