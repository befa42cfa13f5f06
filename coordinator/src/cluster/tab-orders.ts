import type { EventEmitter } from 'node:events';
import type { ExpertIndex } from '@shoal/placement';

/** What the leader wants a tab to hold now; its home carries it out. */
export interface TabOrder {
  /** Grows with each order, over all leaders. */
  readonly number: number;
  readonly home: string;
  /** The regime of the home (HomeView) for which it was made: in another one it is void. */
  readonly regime: number;
  readonly peerId: string;
  /** The next assignment. Empty for a tab that is being drained: others serve its experts. */
  readonly assigned: ReadonlySet<ExpertIndex>;
  /** What the plan gives it, to which `assigned` is a step. */
  readonly target: ReadonlySet<ExpertIndex>;
}

/** The way of the leader's orders to the homes. */
export interface TabOrders {
  /** Of the newest plan that was written, as far as it is known here. */
  readonly epoch: number;
  /**
   * Writes orders and the epoch of the plan behind them. Resolves to false, with nothing written, if this member does not hold the
   * lease of this term any more. Rejects while the database is away.
   */
  write(term: number, epoch: number, orders: readonly TabOrder[]): Promise<boolean>;
  /** `orders`: for own tabs, the newest one of each. */
  readonly events: EventEmitter<{ orders: [readonly TabOrder[]] }>;
  close(): void;
}

/** Room for the orders of one term. */
const ORDERS_PER_TERM = 2 ** 32;

/** The number of a leader's n-th order: any of a later term is larger. */
export function orderNumber(term: number, n: number): number {
  return term * ORDERS_PER_TERM + n;
}
