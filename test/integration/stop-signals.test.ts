import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ROOT_DIR } from '../../coordinator/src/index.ts';
import { CACHE_DIR } from './golden.ts';
import { until } from './virtual-donor.ts';

const SHOAL = [process.execPath, 'coordinator/bin/shoal.mjs', 'serve'];
const NPM_START = ['npm', 'start', '--'];
/** Makes a process the first of a container, as far as signals are concerned. */
const AS_FIRST_PROCESS = ['unshare', '--pid', '--fork', '--map-root-user', '--kill-child'];
const canUnshare = spawnSync(AS_FIRST_PROCESS[0]!, [...AS_FIRST_PROCESS.slice(1), 'true']).status === 0;

/** A coordinator in a process of its own, in a process group of its own. */
class Started {
  readonly child: ChildProcess;
  readonly exited: Promise<unknown[]>;
  said = '';

  constructor(command: readonly string[], { port = '0', cache = CACHE_DIR } = {}) {
    const args = [...command.slice(1), '--port', port, '--cache', cache, '--database', 'none'];
    this.child = spawn(command[0]!, args, { cwd: ROOT_DIR, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    this.exited = once(this.child, 'exit');
    for (const stream of [this.child.stdout!, this.child.stderr!])
      stream.on('data', (data: Buffer) => (this.said += data.toString()));
    started.push(this);
  }

  /** Resolves with the address once it serves. */
  async url(): Promise<string> {
    await until('the coordinator to serve', () => this.said.includes('Ctrl-C to stop'), 60_000);
    return /API +(\S+)\/v1/.exec(this.said)![1]!;
  }

  /** Signals every process, as a terminal does. */
  signalGroup(signal: NodeJS.Signals): void {
    process.kill(-this.child.pid!, signal);
  }

  get isGone(): boolean {
    try {
      return !process.kill(-this.child.pid!, 0);
    } catch {
      return true;
    }
  }
}

const started: Started[] = [];

afterEach(() => {
  for (const { child, isGone } of started.splice(0)) if (!isGone) process.kill(-child.pid!, 'SIGKILL');
});

async function longStream(url: string): Promise<Response> {
  return fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tiny-stories', prompt: 'Once upon a time', max_tokens: 64, stream: true }),
  });
}

// Windows has no signals to send.
describe.skipIf(process.platform === 'win32')('a coordinator that is told to stop', () => {
  it.each([
    // Without npm: the first process of a container, below.
    ['SIGTERM to npm', (one: Started) => one.child.kill('SIGTERM')],
    ['SIGINT to npm', (one: Started) => one.child.kill('SIGINT')],
    [
      'two quick Ctrl-C in a terminal',
      (one: Started) => {
        one.signalGroup('SIGINT');
        one.signalGroup('SIGINT');
      },
    ],
  ])('ends the answers under way, exits with 0 and leaves nothing behind: %s', async (_, stop) => {
    const one = new Started(NPM_START);
    const response = await longStream(await one.url());
    stop(one);
    expect(await response.text()).toContain('data: [DONE]');
    expect(await one.exited).toEqual([0, null]);
    expect(one.said).toContain('Stopped.');
    await until('all of its processes to end', () => one.isGone);
  });

  it('ends when npm is killed and cannot tell it', async () => {
    const one = new Started(NPM_START);
    await one.url();
    one.child.kill('SIGKILL');
    await until('all of its processes to end', () => one.isGone);
    expect(one.said).toContain('Stopped.');
  });

  it.skipIf(!canUnshare)('drains as the first process of a container, which default actions do not end', async () => {
    const one = new Started([...AS_FIRST_PROCESS, ...SHOAL]);
    const response = await longStream(await one.url());
    // unshare itself ignores signals while its child runs; the child's number is the kernel's to tell.
    const { stdout } = spawnSync('pgrep', ['-P', String(one.child.pid)], { encoding: 'utf8' });
    process.kill(Number(stdout.trim()), 'SIGTERM');
    expect(await response.text()).toContain('data: [DONE]');
    expect(await one.exited).toEqual([0, null]);
    expect(one.said).toContain('Stopped.');
  });
});

describe('a taken port', () => {
  it('is found before the model is opened', async () => {
    const other = createServer();
    await once(other.listen(0, '127.0.0.1'), 'listening');
    const { port } = other.address() as AddressInfo;
    const one = new Started(SHOAL, { port: String(port), cache: join(tmpdir(), `shoal-never-${process.pid}`) });
    expect(await one.exited).toEqual([1, null]);
    other.close();
    expect(one.said).toContain('Another program uses it: choose another with --port');
    expect(one.said).not.toContain('packing');
  });
});
