import type { Signal } from '@preact/signals';
import type { DonorState } from './donor-state.ts';
import { SharedPledge, type SharingTabs } from './shared-pledge.ts';

/** How much memory the tab lends: its part of what the donor allows all tabs of the browser. Keeps the page's state up to date. */
export class LentMemory {
  readonly #state: Signal<DonorState>;
  readonly #shared: SharedPledge | undefined;
  readonly #onChange: () => void;

  /** `onChange`: the tab is to lend another amount from now on. */
  constructor(state: Signal<DonorState>, tabs: SharingTabs | undefined, onChange: () => void) {
    this.#state = state;
    this.#onChange = onChange;
    this.#shared =
      tabs &&
      new SharedPledge(tabs, {
        onTabs: (sharingTabs) => this.#set({ sharingTabs }),
        onLimit: (pledgeBytes) => this.#set({ pledgeBytes }),
      });
  }

  /** The tab lends from now on. */
  join(): void {
    this.#shared?.join();
  }

  leave(): void {
    this.#shared?.leave();
    const { pledgeBytes } = this.#state.value;
    this.#state.value = { ...this.#state.value, sharingTabs: 1, lentBytes: pledgeBytes };
  }

  /** The donor changes what all tabs of the browser lend together. */
  change(pledgeBytes: number): void {
    this.#shared?.tellLimit(pledgeBytes);
    this.#set({ pledgeBytes });
  }

  #set(change: Partial<Pick<DonorState, 'pledgeBytes' | 'sharingTabs'>>): void {
    const { pledgeBytes, sharingTabs } = { ...this.#state.value, ...change };
    this.#state.value = { ...this.#state.value, ...change, lentBytes: Math.floor(pledgeBytes / sharingTabs) };
    this.#onChange();
  }
}
