/** Tabs that lend hold a lock with this name and something after it. */
const LOCK_PREFIX = 'shoal-lends-';
const CHANNEL = 'shoal-pledge';
/** A tab that crashed says nothing, but its lock is free. */
const LOOK_AGAIN_MS = 30_000;
/** A tab that is reloaded comes back within this time; the others need not grow and shrink meanwhile. */
const GROW_DELAY_MS = 5_000;
/** Within which a browser has freed the locks of a page that is gone. */
const RELEASE_MS = 1_000;

export interface SharingTabs {
  locks: Pick<LockManager, 'request' | 'query'> | undefined;
  openChannel: () => Pick<BroadcastChannel, 'postMessage' | 'close' | 'onmessage'> | undefined;
}

interface SharedPledgeHandlers {
  /** So many tabs of this browser lend now, this one included: at least 1. */
  onTabs: (tabs: number) => void;
  /** Another tab's donor, who is this one's too, has changed the limit. */
  onLimit: (pledgeBytes: number) => void;
}

/**
 * One pledge for all tabs of a browser: each that lends has an equal part of it. Tabs count each other by locks, which a browser
 * frees whatever becomes of a tab, and tell each other on a channel when to count. A tab that joins makes the others shrink at
 * once, which takes less time than its own first download; they grow a little after it has left.
 */
export class SharedPledge {
  readonly #places: SharingTabs;
  readonly #handlers: SharedPledgeHandlers;
  #release: (() => void) | undefined;
  #channel: ReturnType<SharingTabs['openChannel']>;
  #looking: ReturnType<typeof setInterval> | undefined;
  #growing: ReturnType<typeof setTimeout> | undefined;
  #tabs = 1;

  constructor(places: SharingTabs, handlers: SharedPledgeHandlers) {
    this.#places = places;
    this.#handlers = handlers;
  }

  /** This tab lends from now on. Does nothing if it did already. */
  join(): void {
    const { locks, openChannel } = this.#places;
    if (this.#release || !locks) return;
    const released = new Promise<void>((resolve) => (this.#release = resolve));
    const name = `${LOCK_PREFIX}${crypto.randomUUID()}`;
    const onHeld = (): Promise<void> => {
      this.#channel?.postMessage('count');
      void this.#count();
      return released;
    };
    this.#channel = openChannel();
    if (this.#channel) {
      this.#channel.onmessage = ({ data }: MessageEvent<unknown>) => {
        if (data === 'count') this.#countTwice();
        else if (typeof data === 'number' && data > 0) this.#handlers.onLimit(data);
      };
    }
    // Refused where the browser blocks the page's data. Then the tab counts for itself.
    locks.request(name, onHeld).catch(() => {});
    this.#looking = setInterval(() => void this.#count(), LOOK_AGAIN_MS);
  }

  /** This tab has stopped lending, at least for a while. */
  leave(): void {
    if (!this.#release) return;
    this.#release();
    this.#release = undefined;
    clearInterval(this.#looking);
    clearTimeout(this.#growing);
    this.#growing = undefined;
    this.#tabs = 1;
    this.#channel?.postMessage('count');
    this.#channel?.close();
    this.#channel = undefined;
  }

  /** The donor has changed the limit in this tab. */
  tellLimit(pledgeBytes: number): void {
    this.#channel?.postMessage(pledgeBytes);
  }

  /** Now, and once more when the lock of a tab that has left is free: a page that is being closed can't wait for it. */
  #countTwice(): void {
    void this.#count();
    setTimeout(() => void this.#count(), RELEASE_MS);
  }

  async #count(): Promise<void> {
    const { held = [] } = (await this.#places.locks?.query().catch(() => undefined)) ?? {};
    if (!this.#release) return;
    const tabs = Math.max(1, held.filter(({ name }) => name?.startsWith(LOCK_PREFIX)).length);
    clearTimeout(this.#growing);
    this.#growing = undefined;
    if (tabs >= this.#tabs) return this.#set(tabs);
    this.#growing = setTimeout(() => {
      this.#growing = undefined;
      this.#set(tabs);
    }, GROW_DELAY_MS);
  }

  #set(tabs: number): void {
    if (tabs === this.#tabs) return;
    this.#tabs = tabs;
    this.#handlers.onTabs(tabs);
  }
}

/** This browser's tabs. */
export function tabsOfThisBrowser(): SharingTabs {
  return {
    locks: navigator.locks as LockManager | undefined,
    openChannel: () => {
      try {
        return new BroadcastChannel(CHANNEL);
      } catch {
        return undefined;
      }
    },
  };
}
