import type { DenseMemory } from './dense-memory.ts';
import type { Workspace, WorkspaceRoom } from './workspace.ts';

/** Gives passes their workspaces; where the memory has no room for one more, it waits until another pass has ended. */
export class WorkspaceTurns {
  readonly #memory: DenseMemory;
  /** Passes in progress. */
  readonly #passes = new Set<Promise<unknown>>();

  constructor(memory: DenseMemory) {
    this.#memory = memory;
  }

  async withWorkspaces<T>(room: WorkspaceRoom, work: (workspaces: readonly Workspace[]) => Promise<T>): Promise<T> {
    let workspaces = this.#lend(room);
    while (!workspaces) {
      await Promise.race([...this.#passes].map((pass) => pass.catch(() => {})));
      workspaces = this.#lend(room);
    }
    const lent = workspaces;
    const pass = (async () => work(lent))().finally(() => {
      this.#memory.giveBackWorkspaces(lent);
      this.#passes.delete(pass);
    });
    this.#passes.add(pass);
    return pass;
  }

  /** Resolves when all passes have ended. */
  async end(): Promise<void> {
    await Promise.allSettled(this.#passes);
  }

  /** Returns undefined if there is no room until a pass in progress has ended. */
  #lend(room: WorkspaceRoom): readonly Workspace[] | undefined {
    try {
      return this.#memory.lendWorkspaces(room);
    } catch (error) {
      if (this.#passes.size === 0) throw error;
      return undefined;
    }
  }
}
