import type { FetchedBytes } from '@shoal/peer';
import type { Fetched } from '@shoal/protocol';

/** The coordinator needs no finer figures. */
const REPORT_INTERVAL_MS = 2_000;

/** Turns figures since the page was opened into messages of what has been added. */
export class FetchedReport {
  #told: FetchedBytes = { coordinator: 0, mirror: 0, tab: 0, given: 0 };
  #faults: Fetched['mirrorFaults'] = [];
  #toldMs = -REPORT_INTERVAL_MS;

  /** Tells the coordinator, if there is one and something to tell. */
  tell(
    coordinator: { send(event: 'fetched', message: Fetched): void } | undefined,
    now: FetchedBytes,
    faults: Fetched['mirrorFaults'],
  ): void {
    const fetched = coordinator && this.next(now, faults, performance.now());
    if (fetched) coordinator.send('fetched', fetched);
  }

  /** What to tell now, if anything. */
  next(now: FetchedBytes, faults: Fetched['mirrorFaults'], nowMs: number): Fetched | undefined {
    this.#faults = [...this.#faults, ...faults].slice(-16);
    if (nowMs - this.#toldMs < REPORT_INTERVAL_MS) return undefined;
    const told = this.#told;
    const added = {
      coordinator: now.coordinator - told.coordinator,
      mirror: now.mirror - told.mirror,
      tab: now.tab - told.tab,
      given: now.given - told.given,
    };
    if (Object.values(added).every((bytes) => bytes === 0) && this.#faults.length === 0) return undefined;
    const mirrorFaults = this.#faults;
    this.#faults = [];
    this.#told = now;
    this.#toldMs = nowMs;
    return { ...added, mirrorFaults };
  }

  /** The worker was started again, and counts from 0. */
  restart(): void {
    this.#told = { coordinator: 0, mirror: 0, tab: 0, given: 0 };
  }
}
