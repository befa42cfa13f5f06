import { EventEmitter } from 'node:events';
import type { TabOrder, TabOrders } from '../tab-orders.ts';
import type { Deliver } from './memory-tab-boards.ts';

/** Orders between members in one process, without a database. */
export class MemoryTabOrders {
  /** Of the newest plan that was written. */
  epoch = 0;
  readonly #members = new Map<string, TabOrders['events']>();
  readonly #deliver: Deliver;
  readonly #holds: (member: string, term: number) => boolean;

  /** @param holds whether the member holds the lease of this term */
  constructor(
    holds: (member: string, term: number) => boolean = () => true,
    deliver: Deliver = (_from, _to, run) => run(),
  ) {
    this.#holds = holds;
    this.#deliver = deliver;
  }

  /** An order as a stale leader may have sent it. */
  inject(member: string, order: TabOrder): void {
    this.#members.get(member)!.emit('orders', [order]);
  }

  of(member: string): TabOrders {
    const events: TabOrders['events'] = new EventEmitter();
    this.#members.set(member, events);
    const newest = (): number => this.epoch;
    return {
      get epoch() {
        return newest();
      },
      events,
      write: async (term, epoch, orders) => {
        if (!this.#holds(member, term)) return false;
        this.epoch = epoch;
        for (const [home, theirs] of this.#members) {
          const own = orders.filter((order) => order.home === home);
          if (own.length > 0) this.#deliver(member, home, () => theirs.emit('orders', own));
        }
        return true;
      },
      close: () => {},
    };
  }
}
