import type { ExpertIndex } from '@shoal/placement';
import type { Dismissed } from '@shoal/protocol';
import { isNewer } from '../cluster/known-tabs.ts';
import type { PublishedTab, RemoteTab, TabBoard, TabView } from '../cluster/tab-board.ts';
import type { PeerSession } from './peer-session.ts';
import { speedStep } from './planned-tab.ts';

export interface PublishedTabsOptions {
  board: TabBoard;
  /** What the peer's tab held when it was last seen. */
  heldBefore: (peer: PeerSession) => readonly ExpertIndex[];
  /** A newer visit of the tab is another member's. */
  onReplaced: (peer: PeerSession) => void;
}

/** To a tab of which there is a newer visit. */
export const REPLACED: Dismissed = { code: 'replaced', message: 'This tab has joined again elsewhere.', retry: false };

interface Entry extends PublishedTab {
  readonly peer: PeerSession;
  /** The figures that were published last. */
  figures: string;
}

/** Own tabs on the board: each is published when it changes, and taken off it when it has a newer visit elsewhere. */
export class PublishedTabs {
  readonly #options: PublishedTabsOptions;
  readonly #entries = new Map<string, Entry>();

  constructor(options: PublishedTabsOptions) {
    this.#options = options;
    options.board.events.on('changed', this.#seen);
  }

  add(peer: PeerSession): void {
    const view = (): TabView => viewOf(peer, this.#options.heldBefore);
    const entry: Entry = { peer, peerId: peer.peerId, view, figures: '' };
    this.#entries.set(keyOf(peer), entry);
    peer.onChange = () => this.#options.board.publish(entry);
    peer.onChange();
  }

  end(peer: PeerSession): void {
    peer.onChange = () => {};
    if (this.#entries.get(keyOf(peer))?.peer === peer) this.#entries.delete(keyOf(peer));
    this.#options.board.withdraw(peer.peerId);
  }

  /** Called once a second: figures change all the time, and are published when they have changed by much. */
  tick(): void {
    for (const entry of this.#entries.values()) {
      const figures = figuresText(entry.peer);
      if (figures === entry.figures) continue;
      entry.figures = figures;
      this.#options.board.publish(entry);
    }
  }

  close(): void {
    this.#options.board.events.off('changed', this.#seen);
  }

  readonly #seen = (tab: RemoteTab): void => {
    const own = this.#entries.get(keyOf(tab))?.peer;
    if (own && !tab.isHomeless && isNewer(tab, own)) this.#options.onReplaced(own);
  };
}

const keyOf = ({ donorId, tab }: Pick<TabView, 'donorId' | 'tab'>): string => `${donorId} ${tab}`;

function viewOf(peer: PeerSession, heldBefore: PublishedTabsOptions['heldBefore']): TabView {
  const { peerId, donorId, tab, visit, address, hello, rowFormat, maxExperts, maxExpertsPerLayer, order } = peer;
  const { state, epoch, assigned, live, target, connected, doubtful, retires, promised } = peer;
  return {
    peerId,
    donorId,
    tab,
    visit,
    address,
    adapter: hello.adapter,
    rowFormat,
    maxExperts,
    maxExpertsPerLayer,
    pledgeBytes: hello.pledgeBytes,
    maxCoordinators: hello.maxCoordinators ?? 1,
    state,
    epoch,
    // As they are now: the sets of a peer change.
    assigned: new Set(assigned),
    live: new Set(live),
    target: new Set(target),
    kept: assigned.size === 0 ? heldBefore(peer) : [],
    order,
    connected,
    doubtful,
    retires,
    share: promised.share,
    ...figuresOf(peer),
  };
}

/** What is measured all the time, in coarse steps. */
function figuresOf(peer: PeerSession): Pick<TabView, 'trust' | 'rttMs' | 'assignmentsPerSecond'> {
  const { phase, record } = peer.trust;
  const rttMs = peer.link?.stats().rttMs ?? undefined;
  return {
    trust: {
      phase,
      consecutiveRight: powerOfTwoBelow(record.consecutiveRight),
      verifiedRows: powerOfTwoBelow(record.verifiedRows),
    },
    // Two steps for each doubling.
    rttMs: rttMs === undefined ? undefined : Math.max(1, Math.round(2 ** (Math.round(2 * Math.log2(rttMs)) / 2))),
    assignmentsPerSecond: peer.connected ? speedStep(peer.laps.assignmentsPerSecond) : undefined,
  };
}

const powerOfTwoBelow = (count: number): number => (count < 1 ? 0 : 2 ** Math.floor(Math.log2(count)));

function figuresText(peer: PeerSession): string {
  const { trust, rttMs, assignmentsPerSecond } = figuresOf(peer);
  return [...Object.values(trust), rttMs, assignmentsPerSecond, peer.doubtful].join();
}
