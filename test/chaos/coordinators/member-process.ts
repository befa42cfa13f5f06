import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const PROGRAM = join(import.meta.dirname, 'member.ts');
/** Compiling TypeScript and loading the model on a busy machine. */
const OPEN_TIMEOUT_MS = 120_000;
const MAX_SAID_CHARS = 8_192;
const STATE_TIMEOUT_MS = 10_000;

export interface MemberState {
  id: string;
  /** Of the lease that it believes to hold. */
  term: number | undefined;
  members: number;
  isCut: boolean;
  /** Donors of the tabs whose home it is, and those that serve of all that it may ask. */
  donors: string[];
  serving: number;
  /** Assignments that tabs have computed for it, and that it has computed since no tab did. */
  tabWork: number;
  localWork: number;
  /** Keys of donors and addresses in quarantine. */
  quarantined: string[];
}

export type FromMember =
  | { type: 'open'; url: string; id: string }
  | { type: 'gained'; term: number; atMs: number }
  | { type: 'lost'; atMs: number }
  | { type: 'cut' | 'mended' }
  | { type: 'wrote'; isStale: boolean }
  | { type: 'state'; state: MemberState };

export type ToMember = { type: 'state' } | { type: 'exclude'; donorId: string };

export interface MemberOptions {
  databaseUrl: string;
  accessFile: string;
  port: number;
  onMessage: (member: MemberProcess, message: FromMember) => void;
}

/** A coordinator in a process of its own. */
export class MemberProcess {
  readonly port: number;
  id = '';
  url = '';
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  /** The end of what it wrote to stderr. Not shown otherwise, since compilers that are killed with it write much. */
  #said = '';
  readonly #states: ((state: MemberState) => void)[] = [];

  private constructor(child: ChildProcess, { port, onMessage }: MemberOptions) {
    this.port = port;
    this.#child = child;
    this.#exited = once(child, 'exit');
    child.stderr?.on(
      'data',
      (bytes: Buffer) => (this.#said = `${this.#said}${bytes.toString()}`.slice(-MAX_SAID_CHARS)),
    );
    child.on('message', (message: FromMember) => {
      if (message.type === 'open') Object.assign(this, { id: message.id, url: message.url });
      if (message.type === 'state') for (const take of this.#states.splice(0)) take(message.state);
      onMessage(this, message);
    });
  }

  static async open(options: MemberOptions): Promise<MemberProcess> {
    const { databaseUrl, accessFile, port } = options;
    const args = ['--import', 'tsx', PROGRAM, databaseUrl, accessFile, String(port)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    const member = new MemberProcess(child, options);
    const late = AbortSignal.timeout(OPEN_TIMEOUT_MS);
    const opened = new Promise<void>((resolve, reject) => {
      const fail = (): void => reject(new Error(`A coordinator’s process does not open: ${member.#said}`));
      child.on('message', ({ type }: FromMember) => type === 'open' && resolve());
      late.addEventListener('abort', fail);
      void member.#exited.then(fail);
    });
    await opened;
    return member;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Undefined if it has ended, or does not answer. */
  async state(): Promise<MemberState | undefined> {
    if (this.ended || !this.#child.connected) return undefined;
    const answer = new Promise<MemberState>((resolve) => this.#states.push(resolve));
    this.tell({ type: 'state' });
    const late = new Promise<undefined>((resolve) => setTimeout(resolve, STATE_TIMEOUT_MS, undefined).unref());
    return Promise.race([answer, late, this.#exited.then(() => undefined)]);
  }

  tell(message: ToMember): void {
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  /** kill -9. */
  async kill(): Promise<void> {
    if (this.ended) return;
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}
