import { KnownTabs } from '../known-tabs.ts';
import type { HomeView, TabBoard, TabView } from '../tab-board.ts';

/** Carries what a member has published to another one: in order for each pair, at once or later. */
export type Deliver = (from: string, to: string, run: () => void) => void;

interface Published {
  home: HomeView | undefined;
  readonly tabs: Map<string, TabView>;
}

/** The boards of several members in one process, without a database. */
export class MemoryTabBoards {
  readonly #known = new Map<string, KnownTabs>();
  readonly #tell = new Map<string, (act: (known: KnownTabs) => void) => void>();
  readonly #published = new Map<string, Published>();
  readonly #deliver: Deliver;

  /** @param deliver at once by default */
  constructor(deliver: Deliver = (_from, _to, run) => run()) {
    this.#deliver = deliver;
  }

  /** A new member's board. */
  board(member: string): TabBoard {
    const known = new KnownTabs();
    this.#known.set(member, known);
    for (const [home, published] of this.#published) copy(known, home, published);
    const own: Published = { home: undefined, tabs: new Map() };
    this.#published.set(member, own);
    const tell = (act: (known: KnownTabs) => void): void => {
      for (const [other, theirs] of this.#known) {
        if (other === member) continue;
        this.#deliver(member, other, () => {
          act(theirs);
          theirs.events.emit('read');
        });
      }
    };
    this.#tell.set(member, tell);
    return {
      remote: () => known.remote(),
      of: (peerId) => known.of(peerId),
      ofTab: (donorId, tab) => known.ofTab(donorId, tab),
      home: (other) => known.home(other),
      events: known.events,
      publish: (tab) => {
        const view = tab.view();
        own.tabs.set(view.peerId, view);
        tell((theirs) => theirs.set(member, view));
      },
      withdraw: (peerId) => {
        own.tabs.delete(peerId);
        tell((theirs) => theirs.delete(peerId));
      },
      publishHome: (view) => {
        own.home = view;
        tell((theirs) => theirs.setHome(member, view));
      },
      close: () => {},
    };
  }

  /** What a member says of itself. */
  published(member: string): HomeView | undefined {
    return this.#published.get(member)?.home;
  }

  /** Tells the others again all that a member has published, who held it for dead. */
  republish(member: string): void {
    const published = this.#published.get(member)!;
    const copied = { home: published.home, tabs: new Map(published.tabs) };
    this.#tell.get(member)!((theirs) => copy(theirs, member, copied));
  }

  /** A member ends without a farewell: the others know its tabs as homeless, until `forget`. */
  end(member: string): void {
    this.#known.delete(member);
    this.#published.delete(member);
    this.cut(member);
  }

  /** The others hold a member for dead, which only cannot be reached. */
  cut(member: string): void {
    for (const [other, known] of this.#known) {
      if (other === member) continue;
      known.loseHome(member);
      known.events.emit('read');
    }
  }

  forget(member: string): void {
    for (const known of this.#known.values()) {
      known.forget(member);
      known.events.emit('read');
    }
  }
}

function copy(known: KnownTabs, home: string, published: Published): void {
  if (published.home) known.setHome(home, published.home);
  for (const view of published.tabs.values()) known.set(home, view);
}
