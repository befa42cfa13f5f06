import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import type { WireFaults } from '@shoal/transport';
import type { LineOptions } from './line.ts';
import type { PageOptions, TabReport } from './page-in-node.ts';
import type { Pace } from './paced-backend.ts';
import type { FromTab, ToTab } from './tab-process.ts';

const PROGRAM = join(import.meta.dirname, 'tab-process.ts');
/** Compiling TypeScript on a busy machine takes seconds. */
const OPEN_TIMEOUT_MS = 60_000;

/**
 * A real tab starts on its donor's machine; here its second of compiling would be taken from the coordinator's and the other
 * tabs' processors. So it compiles when nobody else wants them. Only root may undo that, so only for root.
 */
function putBehind(child: ChildProcess, priority: number): void {
  if (process.getuid?.() !== 0 || child.pid === undefined) return;
  try {
    setPriority(child.pid, priority);
  } catch {
    // It has ended already, which is told elsewhere.
  }
}

/** A tab that is a process of its own, reached as every donor is: socket.io, WebRTC, HTTP. What ends it is a signal. */
export class ProcessTab {
  readonly donorToken = randomBytes(16).toString('hex');
  /** As the page itself sees its visit. */
  phase = 'unopened';
  problem: string | undefined;
  downloads = 0;
  readonly #child: ChildProcess;
  readonly #reports: ((report: TabReport) => void)[] = [];

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (message: FromTab) => {
      if (message.type === 'state') Object.assign(this, { ...message, type: undefined });
      if (message.type === 'report') for (const take of this.#reports.splice(0)) take(message.report);
    });
  }

  /** Started and compiled, joined nowhere yet. */
  static async open(): Promise<ProcessTab> {
    const child = spawn(process.execPath, ['--import', 'tsx', PROGRAM], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // As structured clones: JSON has no Infinity.
      serialization: 'advanced',
    });
    putBehind(child, constants.priority.PRIORITY_LOW);
    const tab = new ProcessTab(child);
    const signal = AbortSignal.timeout(OPEN_TIMEOUT_MS);
    const opened = new Promise<void>((resolve) => {
      child.on('message', (message: FromTab) => message.type === 'open' && resolve());
    });
    const failed = Promise.race([once(child, 'exit', { signal }), once(child, 'error', { signal })]).then(() => {
      throw new Error('A tab’s process ended before it was open: see its output above.');
    });
    failed.catch(() => {});
    await Promise.race([opened, failed]);
    putBehind(child, constants.priority.PRIORITY_NORMAL);
    return tab;
  }

  /** As the coordinator names its donor (PeerSession.donorId). */
  get donorId(): string {
    return createHash('sha256').update(this.donorToken).digest('hex').slice(0, 16);
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  lend(options: Omit<PageOptions, 'donorToken'>): void {
    this.#tell({ type: 'lend', options: { ...options, donorToken: this.donorToken } });
  }

  setFaults(faults: Partial<WireFaults>): void {
    this.#tell({ type: 'wire', faults });
  }

  /** Of a measured tab: what it is and where, from now on. */
  place(pace: Pace, line: LineOptions): void {
    this.#tell({ type: 'place', pace, line });
  }

  report(): Promise<TabReport> {
    return new Promise((resolve) => {
      this.#reports.push(resolve);
      this.#tell({ type: 'report' });
    });
  }

  /** SIGKILL: it says nothing to anybody. */
  crash(): void {
    this.#child.kill('SIGKILL');
  }

  /** SIGSTOP: its sockets stay open, and it answers nothing. */
  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  /** SIGTERM: the page says goodbye as it goes. */
  leave(): void {
    this.#child.kill('SIGTERM');
  }

  /** Also of a frozen one. */
  async close(): Promise<void> {
    if (this.ended) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  #tell(message: ToTab): void {
    // One that has been killed meanwhile hears nothing.
    if (this.#child.connected) this.#child.send(message, () => {});
  }
}
