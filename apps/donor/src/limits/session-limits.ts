import type { Signal } from '@preact/signals';
import { NO_LIMITS, type TabPromise } from '@shoal/protocol';
import type { CoordinatorConnection } from '../coordinator-connection.ts';
import type { DeviceWorker } from '../device-worker.ts';
import { type DonorPhase, limitedPhase, livePhase, type DonorState } from '../donor-state.ts';
import type { LimitsKeeper } from './limits-keeper.ts';

/** Has a session rest and go on as the donor's limits want: its worker, its coordinator and what it shows. */
export class SessionLimits {
  readonly #keeper: LimitsKeeper | undefined;
  readonly #worker: DeviceWorker;
  readonly #state: Signal<DonorState>;
  readonly #connection: () => CoordinatorConnection | undefined;

  /** Without a keeper, everything is allowed. */
  constructor(
    keeper: LimitsKeeper | undefined,
    worker: DeviceWorker,
    state: Signal<DonorState>,
    connection: () => CoordinatorConnection | undefined,
  ) {
    this.#keeper = keeper;
    this.#worker = worker;
    this.#state = state;
    this.#connection = connection;
  }

  /** `tab`: number of this tab among the donor's open ones. */
  begin(tab: number): void {
    this.#keeper?.begin(tab, {
      onAllowance: () => this.#allow(),
      onPromise: (promise) => this.#connection()?.send('promise', promise),
    });
  }

  /** What the coordinator is told when the tab joins. */
  introduce(): TabPromise {
    this.#keeper?.noteTold();
    return this.#keeper?.promise ?? NO_LIMITS;
  }

  /** Tells a worker that may be new. */
  tellWorker(): void {
    if (this.#keeper && this.#worker.isRunning) this.#worker.post({ type: 'allow', allowance: this.#keeper.allowance });
  }

  /** The phase that is shown: a tab that would join, work or come back rests instead while its limits want that. */
  phaseOf(phase: DonorPhase): DonorPhase {
    return limitedPhase(phase, this.#keeper?.rests ?? false);
  }

  /** The worker first, since it refuses laps at once, before the coordinator knows. */
  #allow(): void {
    this.tellWorker();
    const { phase, standing } = this.#state.value;
    const wakes = phase === 'resting' && !this.#keeper!.rests;
    const next = wakes ? (this.#connection() ? livePhase(standing) : 'connecting') : this.phaseOf(phase);
    if (next !== phase) this.#state.value = { ...this.#state.value, phase: next };
  }
}
