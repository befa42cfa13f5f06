import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const PROGRAM = join(import.meta.dirname, 'member.ts');
/** Compiling TypeScript and loading the model on a busy machine. */
const OPEN_TIMEOUT_MS = 120_000;

/** Counters since the member's start, and what it has now. */
export interface MemberFigures {
  atMs: number;
  tokens: number;
  tabAssignments: number;
  fallbackAssignments: number;
  /** Laps asked of another as well: hedges, trials, stand-ins. */
  repeated: number;
  /** Bytes on lap channels. */
  sent: number;
  received: number;
  /** Tabs that serve: its own, and those of others to which it has links. */
  ownTabs: number;
  remoteTabs: number;
  /** Experts that no tab serves. */
  uncovered: number;
}

export type FromMember = { type: 'open'; url: string } | { type: 'figures'; figures: MemberFigures };
export type ToMember = { type: 'ask'; streams: number; first: number } | { type: 'figures' };

/** A coordinator in a process of its own. */
export class MemberProcess {
  url = '';
  readonly #child: ChildProcess;
  readonly #takers: ((figures: MemberFigures) => void)[] = [];

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (message: FromMember) => {
      if (message.type === 'open') this.url = message.url;
      else for (const take of this.#takers.splice(0)) take(message.figures);
    });
  }

  static async open(databaseUrl: string, port: number, bytesPerSecond: number): Promise<MemberProcess> {
    const args = ['--import', 'tsx', PROGRAM, databaseUrl, String(port), String(bytesPerSecond)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const member = new MemberProcess(child);
    const signal = AbortSignal.timeout(OPEN_TIMEOUT_MS);
    await new Promise<void>((resolve, reject) => {
      child.on('message', ({ type }: FromMember) => type === 'open' && resolve());
      once(child, 'exit', { signal }).then(
        () => reject(new Error('A coordinator’s process ended: see its output above.')),
        reject,
      );
    });
    return member;
  }

  ask(streams: number, first: number): void {
    this.#tell({ type: 'ask', streams, first });
  }

  figures(): Promise<MemberFigures> {
    return new Promise((resolve) => {
      this.#takers.push(resolve);
      this.#tell({ type: 'figures' });
    });
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
  }

  #tell(message: ToMember): void {
    if (this.#child.connected) this.#child.send(message);
  }
}
