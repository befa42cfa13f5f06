import { connectDonor, type DonorConnection } from '@shoal/peer';
import { CONNECT_TIMEOUT_MS, type Guest, type GuestRefused, MAX_COORDINATORS, type Signal } from '@shoal/protocol';
import { rtcIceServers } from './ice-servers.ts';

/** Time for the tab to find another home, during which it goes on working for guests. */
export const HOMELESS_MS = 60_000;

/** What carries signals between the tab and its guests. */
export interface Home {
  send(event: 'signal', signal: Signal): void;
  send(event: 'guest-refused', refused: GuestRefused): void;
}

export interface GuestLinksOptions {
  /** As of the home's channels; see CoordinatorConnection. */
  onLapChannel: (channel: RTCDataChannel, isFurther: boolean, coordinator: string) => void;
  /** A link is over, whichever end closed it. */
  onEnd: (coordinator: string) => void;
  connect?: (...options: Parameters<typeof connectDonor>) => Omit<DonorConnection, 'path'>;
}

interface GuestLink {
  attempt: number;
  connection: Omit<DonorConnection, 'path'>;
  /** Until the link is open. */
  deadline: ReturnType<typeof setTimeout> | undefined;
}

/** The tab's links to coordinators that are not its home, opened at the home's word. They outlive its socket for a while. */
export class GuestLinks {
  readonly #options: GuestLinksOptions;
  readonly #links = new Map<string, GuestLink>();
  #home: Home | undefined;
  #homeless: ReturnType<typeof setTimeout> | undefined;

  constructor(options: GuestLinksOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#links.size;
  }

  /** The tab has a home: signals pass through it. */
  settle(home: Home): void {
    clearTimeout(this.#homeless);
    this.#homeless = undefined;
    this.#home = home;
  }

  /** The tab has lost its home, and looks for another. */
  loseHome(): void {
    if (this.#home === undefined) return;
    this.#home = undefined;
    // Nobody carries the signals of those that are not open yet.
    for (const [coordinator, { deadline }] of this.#links) if (deadline !== undefined) this.end(coordinator);
    this.#homeless = setTimeout(() => this.endAll(), HOMELESS_MS);
  }

  /** Opens a link, or ends one. */
  take(guest: Guest): void {
    const { coordinator, attempt, open } = guest;
    const link = this.#links.get(coordinator);
    if (!open) {
      if (link?.attempt === attempt) this.end(coordinator);
      return;
    }
    this.end(coordinator);
    // The home has a place as well.
    if (this.#links.size >= MAX_COORDINATORS - 1) return this.#refuse({ coordinator, attempt, code: 'limit' });
    try {
      this.#open(guest);
    } catch {
      // No RTCPeerConnection can be made, for example since there are too many.
      this.#refuse({ coordinator, attempt, code: 'failed' });
    }
  }

  /** Takes a signal of a guest. */
  signal({ guest, ...signal }: Signal): void {
    const link = guest && this.#links.get(guest.coordinator);
    if (link && link.attempt === guest.attempt) link.connection.signal(signal);
  }

  end(coordinator: string): void {
    const link = this.#links.get(coordinator);
    if (!link) return;
    this.#links.delete(coordinator);
    clearTimeout(link.deadline);
    link.connection.sendControl({ control: 'goodbye' });
    link.connection.close();
    this.#options.onEnd(coordinator);
  }

  endAll(): void {
    clearTimeout(this.#homeless);
    this.#homeless = undefined;
    for (const coordinator of this.#links.keys()) this.end(coordinator);
  }

  #open({ coordinator, attempt, iceServers, lapConnections = 1 }: Extract<Guest, { open: true }>): void {
    const { connect = connectDonor, onLapChannel } = this.#options;
    const guest = { coordinator, attempt };
    const isCurrent = (): boolean => this.#links.get(coordinator)?.attempt === attempt;
    const fail = (): void => {
      // Ended by this page, or replaced.
      if (!isCurrent()) return;
      const wasOpen = this.#links.get(coordinator)!.deadline === undefined;
      this.end(coordinator);
      if (!wasOpen) this.#refuse({ ...guest, code: 'failed' });
    };
    const connection = connect({
      iceServers: rtcIceServers(iceServers),
      lapConnections,
      onSignal: (signal) => this.#home?.send('signal', { ...signal, guest }),
      onLapChannel: (channel, isFurther) => onLapChannel(channel, isFurther, coordinator),
      onOpen: () => {
        const link = isCurrent() ? this.#links.get(coordinator) : undefined;
        clearTimeout(link?.deadline);
        if (link) link.deadline = undefined;
      },
      onEnd: fail,
    });
    this.#links.set(coordinator, { attempt, connection, deadline: setTimeout(fail, CONNECT_TIMEOUT_MS) });
  }

  #refuse(refused: GuestRefused): void {
    this.#home?.send('guest-refused', refused);
  }
}
