import type { DispatchFrame } from '@shoal/protocol';
import type { Link } from '@shoal/transport';

/** Laps of one link that wait in the tab. A coordinator has as many in flight to one peer at most (`LapClient`). */
export const MAX_LAPS_QUEUED = 32;

export interface QueuedLap {
  /** The link that asked for it and gets its answer. */
  from: LinkLaps;
  dispatch: DispatchFrame;
  arrivedMs: number;
  queueUs: number;
}

/** The laps of one link in this tab. Their ids are the link's own: those of another coordinator may be equal. */
export class LinkLaps {
  readonly link: Link;
  /** Whether the link is to the home, whose numbers of adapters frames may name. */
  readonly isHome: boolean;
  #waiting: QueuedLap[] = [];
  readonly #running = new Set<number>();
  /** Those of `#running` whose answer is no longer needed. */
  readonly #cancelled = new Set<number>();

  constructor(link: Link, isHome: boolean) {
    this.link = link;
    this.isHome = isHome;
  }

  get isFull(): boolean {
    return this.#waiting.length >= MAX_LAPS_QUEUED;
  }

  /** The lap whose turn it is. */
  get next(): QueuedLap | undefined {
    return this.#waiting[0];
  }

  add(dispatch: DispatchFrame, arrivedMs: number): void {
    this.#waiting.push({ from: this, dispatch, arrivedMs, queueUs: 0 });
  }

  takeNext(): void {
    this.#waiting.shift();
  }

  takeAll(): QueuedLap[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting;
  }

  /** Drops a lap that waits, and remembers one that is running. Returns whether it waited. */
  cancel(lapId: number): boolean {
    const waiting = this.#waiting.findIndex((lap) => lap.dispatch.lapId === lapId);
    if (waiting >= 0) this.#waiting.splice(waiting, 1);
    else if (this.#running.has(lapId)) this.#cancelled.add(lapId);
    return waiting >= 0;
  }

  begin(lapId: number): void {
    this.#running.add(lapId);
  }

  /** Whether the answer of a running lap is not needed; told once. */
  isUnwanted(lapId: number): boolean {
    return this.#cancelled.delete(lapId);
  }

  end(lapId: number): void {
    this.#running.delete(lapId);
    this.#cancelled.delete(lapId);
  }
}
