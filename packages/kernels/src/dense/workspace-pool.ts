import type { ModelConfig } from '@shoal/model';
import type { Bank } from './bank.ts';
import { Workspace } from './workspace.ts';

/** Rows that a workspace has room for at least. */
const LEAST_ROWS = 80;
const LEAST_TABLE_WORDS = 1024;
/** Made larger than asked, so that passes which grow slowly don't make a new one each time. */
const HEADROOM = 1.25;

interface Lent {
  workspace: Workspace;
  isLent: boolean;
}

/**
 * The workspaces of one bank, one for each pass at a time, in the memory behind its weights and KV cache. One is made when no
 * idle one is large enough, in place of one that is too small, so that there are as many as passes have overlapped.
 */
export class WorkspacePool {
  readonly #bank: Bank;
  readonly #config: ModelConfig;
  readonly #threads: number;
  readonly #startByte: number;
  /** In order of address. */
  readonly #lent: Lent[] = [];

  /** From the bank's used bytes on, all is the pool's. */
  constructor(bank: Bank, config: ModelConfig, threads: number) {
    this.#bank = bank;
    this.#config = config;
    this.#threads = threads;
    this.#startByte = bank.usedBytes;
  }

  /** In order of address, idle ones included. */
  get workspaces(): readonly Workspace[] {
    return this.#lent.map(({ workspace }) => workspace);
  }

  /** One with room for so many rows and words of page tables; nobody else has it until it is given back. Throws a RangeError. */
  lend(rows: number, tableWords: number): Workspace {
    const idle = this.#lent.filter(({ isLent }) => !isLent);
    const fitting = idle.filter(({ workspace }) => workspace.rows >= rows && workspace.tableWords >= tableWords);
    fitting.sort((a, b) => a.workspace.bytes - b.workspace.bytes);
    const found = fitting[0];
    if (found) {
      found.isLent = true;
      return found.workspace;
    }
    const tooSmall = idle[0];
    if (tooSmall) this.#lent.splice(this.#lent.indexOf(tooSmall), 1);
    return this.#make(
      roomy(rows, tooSmall?.workspace.rows ?? LEAST_ROWS),
      roomy(tableWords, tooSmall?.workspace.tableWords ?? LEAST_TABLE_WORDS),
    );
  }

  giveBack(workspace: Workspace): void {
    const lent = this.#lent.find((each) => each.workspace === workspace);
    if (lent) lent.isLent = false;
  }

  #make(rows: number, tableWords: number): Workspace {
    const { bytes } = new Workspace(0, this.#config, this.#threads, rows, tableWords);
    const address = this.#roomFor(bytes);
    const workspace = new Workspace(address, this.#config, this.#threads, rows, tableWords);
    workspace.reset(this.#bank);
    this.#lent.push({ workspace, isLent: true });
    this.#lent.sort((a, b) => a.workspace.address - b.workspace.address);
    return workspace;
  }

  /** The first gap that is large enough; idle workspaces make way where there is none. */
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

const roomy = (needed: number, had: number): number => (needed <= had ? had : Math.ceil(needed * HEADROOM));
