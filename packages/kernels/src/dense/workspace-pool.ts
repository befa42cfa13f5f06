import type { HeadConfig, ModelConfig } from '@shoal/model';
import type { Bank } from './bank.ts';
import {
  layOutWorkspace,
  resetWorkspace,
  type Workspace,
  type WorkspaceKind,
  type WorkspaceRoom,
} from './workspace.ts';

/** Smallest size of a workspace. */
const LEAST: WorkspaceRoom = { rows: 80, tableWords: 1024, listWords: 1024, ranks: 0 };
/** Workspaces are made larger than requested, so that passes which grow slowly don't make a new one each time. */
const HEADROOM = 1.25;

interface Lent {
  workspace: Workspace;
  isLent: boolean;
}

/**
 * The workspaces of one bank, in the memory behind its weights and KV cache. Each serves one pass at a time. A new one is made
 * when no idle one is large enough, replacing an idle one, so that there are no more than passes have overlapped.
 */
export class WorkspacePool {
  readonly #bank: Bank;
  readonly #config: ModelConfig;
  readonly #threads: number;
  readonly #kind: WorkspaceKind;
  readonly #head: HeadConfig | undefined;
  readonly #startByte: number;
  /** In order of address. */
  readonly #lent: Lent[] = [];

  /** The pool owns the bank's memory behind its used bytes. */
  constructor(bank: Bank, config: ModelConfig, threads: number, kind: WorkspaceKind, head?: HeadConfig) {
    this.#bank = bank;
    this.#config = config;
    this.#threads = threads;
    this.#kind = kind;
    this.#head = head;
    this.#startByte = bank.usedBytes;
  }

  /** In order of address, idle ones included. */
  get workspaces(): readonly Workspace[] {
    return this.#lent.map(({ workspace }) => workspace);
  }

  /** Lends a workspace with that much room. Throws a RangeError if the bank is full. */
  lend(room: WorkspaceRoom): Workspace {
    const idle = this.#lent.filter(({ isLent }) => !isLent);
    const fitting = idle.filter(({ workspace }) => holds(workspace.room, room));
    fitting.sort((a, b) => a.workspace.bytes - b.workspace.bytes);
    const found = fitting[0];
    if (found) {
      found.isLent = true;
      return found.workspace;
    }
    const tooSmall = idle[0];
    if (tooSmall) this.#lent.splice(this.#lent.indexOf(tooSmall), 1);
    return this.#make(roomy(room, tooSmall?.workspace.room ?? LEAST));
  }

  giveBack(workspace: Workspace): void {
    const lent = this.#lent.find((each) => each.workspace === workspace);
    if (lent) lent.isLent = false;
  }

  #make(room: WorkspaceRoom): Workspace {
    const layOut = (address: number): Workspace =>
      layOutWorkspace(address, this.#config, this.#threads, this.#kind, room, this.#head);
    const workspace = layOut(this.#roomFor(layOut(0).bytes));
    resetWorkspace(workspace, this.#bank);
    this.#lent.push({ workspace, isLent: true });
    this.#lent.sort((a, b) => a.workspace.address - b.workspace.address);
    return workspace;
  }

  /** The address of the first gap that is large enough. Drops idle workspaces if there is none. */
  #roomFor(bytes: number): number {
    for (;;) {
      let address = this.#startByte;
      for (const { workspace } of this.#lent) {
        if (workspace.address - address >= bytes) return address;
        address = workspace.address + workspace.bytes;
      }
      const idle = this.#lent.findIndex(({ isLent }) => !isLent);
      if (address + bytes <= this.#bank.limitBytes || idle < 0) {
        this.#bank.reach(address + bytes);
        return address;
      }
      this.#lent.splice(idle, 1);
    }
  }
}

const DIMENSIONS = ['rows', 'tableWords', 'listWords', 'ranks'] as const;

const holds = (had: WorkspaceRoom, needed: WorkspaceRoom): boolean =>
  DIMENSIONS.every((key) => had[key] >= needed[key]);

function roomy(needed: WorkspaceRoom, had: WorkspaceRoom): WorkspaceRoom {
  const room = { ...had };
  for (const key of DIMENSIONS) if (needed[key] > had[key]) room[key] = Math.ceil(needed[key] * HEADROOM);
  return room;
}
