import type { TabLink, TabSignal } from '@shoal/protocol';
import type { CoordinatorConnection, Welcome } from './coordinator-connection.ts';
import type { DeviceWorker, WorkerNews } from './device-worker.ts';
import { TabLinks } from './tab-links.ts';

/** The page's part in the exchange of shards with other tabs: connections and calls, which a worker can't make. */
export class ExchangeSession {
  readonly #worker: DeviceWorker;
  readonly #connection: () => CoordinatorConnection | undefined;
  readonly #tabs: TabLinks;

  constructor(worker: DeviceWorker, connection: () => CoordinatorConnection | undefined) {
    this.#worker = worker;
    this.#connection = connection;
    this.#tabs = new TabLinks({
      send: (message) => connection()?.send('tab-signal', message),
      onChannel: (tab, channel) => worker.handOverTab(tab, channel),
      onGone: (tab) => worker.isRunning && worker.post({ type: 'tab-gone', tab }),
    });
  }

  /** Begins, if coordinator and donor agree. `mbit`: most that is sent to other tabs. */
  start({ tabToTab }: Welcome, mbit: number | undefined): void {
    if (tabToTab && mbit !== undefined) this.#worker.post({ type: 'exchange', uploadBitsPerSecond: mbit * 1e6 });
  }

  stop(): void {
    this.#tabs.endAll();
    if (this.#worker.isRunning) this.#worker.post({ type: 'exchange', uploadBitsPerSecond: undefined });
  }

  readonly handlers = {
    onTabLink: (link: TabLink): void => this.#tabs.take(link),
    onTabSignal: (signal: TabSignal): void => this.#tabs.signal(signal),
  };

  async seek({ id, seek }: Extract<WorkerNews, { type: 'seek' }>): Promise<void> {
    const reply = await this.#connection()?.seek(seek);
    if (this.#worker.isRunning) this.#worker.post({ type: 'seek-reply', id, reply });
  }
}
