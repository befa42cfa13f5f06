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
 * A real tab starts on its donor's machine; here, a second of compiling would take processor time from the coordinator
 * and the other tabs, so it compiles at low priority. Only root may raise it again, so this applies only to root.
 */
function putBehind(child: ChildProcess, priority: number): void {
  if (process.getuid?.() !== 0 || child.pid === undefined) return;
  try {
    setPriority(child.pid, priority);
  } catch {
    // It has already ended, which is reported elsewhere.
  }
}

/** A tab in its own process, reached like every donor: over socket.io, WebRTC and HTTP. It is ended by a signal. */
export class ProcessTab {
  readonly donorToken = randomBytes(16).toString('hex');
  /** The page's own view of its visit. */
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

  /** Starts and compiles a tab that has not joined yet. */
  static async open(): Promise<ProcessTab> {
    const child = spawn(process.execPath, ['--import', 'tsx', PROGRAM], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // As structured clones, because JSON has no Infinity.
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

  /** The coordinator's name for its donor (PeerSession.donorId). */
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

  /** Sets the pace and the line of a measured tab from now on. */
  place(pace: Pace, line: LineOptions): void {
    this.#tell({ type: 'place', pace, line });
  }

  report(): Promise<TabReport> {
    return new Promise((resolve) => {
      this.#reports.push(resolve);
      this.#tell({ type: 'report' });
    });
  }

  /** SIGKILL: it ends without a goodbye. */
  crash(): void {
    this.#child.kill('SIGKILL');
  }

  /** SIGSTOP: its sockets stay open, but it answers nothing. */
  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  /** SIGTERM: the page says goodbye before it ends. */
  leave(): void {
    this.#child.kill('SIGTERM');
  }

  /** Also works for a frozen tab. */
  async close(): Promise<void> {
    if (this.ended) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  #tell(message: ToTab): void {
    // A tab that was killed in the meantime gets nothing.
    if (this.#child.connected) this.#child.send(message, () => {});
  }
}
