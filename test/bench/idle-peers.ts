import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { beABrowser, PageInNode } from '../tabs/page-in-node.ts';

/** To the process: how many tabs to open. From it: how many have joined. */
interface Order {
  url: string;
  count: number;
  pledgeBytes: number;
}

/** Tabs that join at a time. */
const AT_A_TIME = 8;
/** Longest time for one to join. */
const JOIN_TIMEOUT_MS = 60_000;
/** Phases of a page that has its connection. */
const JOINED = new Set(['waiting', 'working']);

/** A process with many tabs: real pages with real sockets and WebRTC connections. */
export class IdlePeers {
  readonly #child: ChildProcess;
  joined = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (joined: number) => (this.joined = joined));
  }

  static async open(order: Order): Promise<IdlePeers> {
    const program = fileURLToPath(import.meta.url);
    const child = spawn(process.execPath, ['--import', 'tsx', program], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const peers = new IdlePeers(child);
    await once(child, 'message');
    child.send(order);
    return peers;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}

async function run({ url, count, pledgeBytes }: Order): Promise<void> {
  let joined = 0;
  const joinOne = async (seed: number): Promise<void> => {
    const page = new PageInNode({ url, donorToken: randomBytes(16).toString('hex'), pledgeBytes, seed });
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () =>
          reject(
            new Error(`A tab had not joined after ${JOIN_TIMEOUT_MS / 1000} s: ${page.session.state.value.phase}`),
          ),
        JOIN_TIMEOUT_MS,
      );
      page.session.state.subscribe(({ phase, standing }) => {
        if (!JOINED.has(phase) && standing?.phase !== 'waiting') return;
        clearTimeout(timer);
        resolve();
      });
      void page.lend();
    });
    process.send!(++joined);
  };
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await joinOne(next++);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.on('disconnect', () => process.exit(0));
  process.on('message', (order: Order) => void run(order));
  console.warn = () => {};
  await beABrowser();
  process.send!(0);
}
