import { connectDonor } from '@shoal/peer';
import { MAX_TAB_LINKS, type TabLink, type TabSignal } from '@shoal/protocol';

type TabConnection = ReturnType<typeof connectDonor>;

export interface TabLinksOptions {
  send: (message: TabSignal) => void;
  /** Receives each channel in the task that made it. */
  onChannel: (tab: string, channel: RTCDataChannel) => void;
  onGone: (tab: string) => void;
  connect?: typeof connectDonor;
}

/** WebRTC connections to other tabs, as the coordinator arranges them. What passes over them is the worker's. */
export class TabLinks {
  readonly #options: TabLinksOptions;
  readonly #links = new Map<string, TabConnection>();

  constructor(options: TabLinksOptions) {
    this.#options = options;
  }

  take(link: TabLink): void {
    this.#end(link.tab);
    // An honest coordinator asks for no more.
    if (link.open && this.#links.size < MAX_TAB_LINKS) this.#open(link);
  }

  signal({ tab, signal }: TabSignal): void {
    this.#links.get(tab)?.signal(signal);
  }

  endAll(): void {
    for (const tab of this.#links.keys()) this.#end(tab);
  }

  #open({ tab, initiate, iceServers }: Extract<TabLink, { open: true }>): void {
    const { connect = connectDonor, onChannel, onGone, send } = this.#options;
    let channel: RTCDataChannel | undefined;
    const connection = connect({
      iceServers: iceServers.map(({ urls }) => ({ urls })),
      initiator: initiate,
      onSignal: (signal) => send({ tab, signal }),
      onLapChannel: (made) => (channel = made),
      onEnd: () => {
        if (this.#links.get(tab) !== connection) return;
        this.#links.delete(tab);
        onGone(tab);
      },
    });
    this.#links.set(tab, connection);
    // Made while connecting, in this task.
    onChannel(tab, channel!);
  }

  #end(tab: string): void {
    const connection = this.#links.get(tab);
    if (!connection) return;
    this.#links.delete(tab);
    connection.close();
    this.#options.onGone(tab);
  }
}
