import { RemoteTabs } from '../remote-tabs.ts';
import type { TabBoard, TabView } from '../tab-board.ts';

/** The boards of several members in one process, without a database. */
export class MemoryTabBoards {
  readonly #boards = new Map<string, RemoteTabs>();
  readonly #published = new Map<string, Map<string, TabView>>();
  readonly #deliver: (run: () => void) => void;

  /** @param deliver carries what is published to another member, in order; at once by default. */
  constructor(deliver: (run: () => void) => void = (run) => run()) {
    this.#deliver = deliver;
  }

  /** A new member's board. */
  board(member: string): TabBoard {
    const tabs = new RemoteTabs();
    this.#boards.set(member, tabs);
    const own = new Map<string, TabView>();
    for (const [home, views] of this.#published) for (const view of views.values()) tabs.set(home, view);
    this.#published.set(member, own);
    const tell = (act: (board: RemoteTabs) => void): void => {
      for (const [other, board] of this.#boards) {
        if (other === member) continue;
        this.#deliver(() => {
          act(board);
          board.events.emit('read');
        });
      }
    };
    return {
      remote: () => tabs.remote(),
      of: (peerId) => tabs.of(peerId),
      ofTab: (donorId, tab) => tabs.ofTab(donorId, tab),
      events: tabs.events,
      publish: (view) => {
        own.set(view.peerId, view);
        tell((board) => board.set(member, view));
      },
      withdraw: (peerId) => {
        own.delete(peerId);
        tell((board) => board.delete(peerId));
      },
    };
  }

  /** A member ends without a farewell: the others know its tabs as homeless, until `forget`. */
  end(member: string): void {
    this.#boards.delete(member);
    this.#published.delete(member);
    for (const board of this.#boards.values()) board.loseHome(member);
  }

  forget(member: string): void {
    for (const board of this.#boards.values()) board.forget(member);
  }
}
