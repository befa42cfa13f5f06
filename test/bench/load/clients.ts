import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { FromClients, ToClients } from './client-process.ts';
import type { Outcome } from './client.ts';

const PROGRAM = join(import.meta.dirname, 'client-process.ts');

/** The load generator's clients, in a separate process so that their work doesn't load the coordinator's. */
export class Clients {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async open(): Promise<Clients> {
    const child = spawn(process.execPath, ['--import', 'tsx', PROGRAM], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
    });
    const failed = once(child, 'exit').then(() => Promise.reject(new Error('The load clients’ process has ended.')));
    failed.catch(() => {});
    await Promise.race([once(child, 'message'), failed]);
    return new Clients(child);
  }

  async ask(work: ToClients): Promise<Outcome[]> {
    const answered = once(this.#child, 'message');
    this.#child.send(work);
    const [{ outcomes }] = (await answered) as [FromClients];
    return outcomes;
  }

  async close(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    await exited;
  }
}
