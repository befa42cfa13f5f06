import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hello, HelloReply } from '@shoal/protocol';
import { Server } from 'socket.io';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Coordinator, ROOT_DIR } from '../../coordinator/src/index.ts';
import { answer } from './answers.ts';
import { GOLDEN } from './golden.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';
import { covered, until } from './virtual-donor.ts';

const JOIN_TIMEOUT_MS = 90_000;

/** `shoal donate` in a process of its own. */
class Started {
  readonly child: ChildProcess;
  readonly exited: Promise<unknown[]>;
  said = '';

  constructor(...args: readonly string[]) {
    const places = ['--cache', join(folder, 'weights'), '--data', join(folder, 'identity')];
    this.child = spawn(process.execPath, ['coordinator/bin/shoal.mjs', 'donate', ...args, ...places], {
      cwd: ROOT_DIR,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.exited = once(this.child, 'exit');
    for (const stream of [this.child.stdout!, this.child.stderr!])
      stream.on('data', (data: Buffer) => (this.said += data.toString()));
    started.push(this);
  }

  /** Its exit code, and what it said. */
  async ended(): Promise<[code: unknown, said: string]> {
    return [(await this.exited)[0], this.said];
  }
}

let folder: string;
const started: Started[] = [];
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'shoal-donate-'))));
afterEach(() => {
  for (const { child } of started.splice(0)) child.kill('SIGKILL');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('shoal donate', () => {
  let coordinator: Coordinator;
  beforeAll(async () => void (coordinator = await startTinyCoordinator({ replicas: 1 })));
  afterAll(() => coordinator.close());

  const lend = (): Started => new Started(coordinator.url, '--device', 'cpu', '--memory', '64MiB', '--yes');
  const serves = (donors: number): boolean =>
    coordinator.swarm.peers.filter(({ serving }) => serving).length === donors && covered(coordinator);

  async function sentBytes(): Promise<number> {
    const metrics = await (await fetch(`${coordinator.url}/metrics`)).text();
    return Number(/shoal_shard_bytes_total\{source="coordinator"\} (\d+)/.exec(metrics)?.[1] ?? 0);
  }

  it('serves every expert with the processor, is killed, comes back with the weights it kept, and leaves when told', async () => {
    const first = lend();
    await until(`the donor to serve: ${first.said}`, () => serves(1), JOIN_TIMEOUT_MS);
    const golden = GOLDEN[6]!;
    expect((await answer(coordinator, golden.prompt_ids)).ids).toEqual(golden.greedy_ids);
    const { figures } = coordinator.dispatcher;
    expect(figures.tabAssignments).toBeGreaterThan(0);
    const [peer] = coordinator.swarm.peers;
    expect(peer!.hello.adapter).toMatchObject({ vendor: 'cpu', architecture: 'wasm' });
    const { donorId } = peer!;
    const downloaded = await sentBytes();
    expect(downloaded).toBeGreaterThan(0);
    first.child.kill('SIGKILL');
    await until('the coordinator to miss it', () => coordinator.swarm.peers.length === 0);

    const second = lend();
    await until('the donor to serve again', () => serves(1), JOIN_TIMEOUT_MS);
    expect(coordinator.swarm.peers[0]!.donorId).toBe(donorId);
    expect(await sentBytes()).toBe(downloaded);
    const before = figures.tabAssignments;
    expect((await answer(coordinator, golden.prompt_ids)).ids).toEqual(golden.greedy_ids);
    expect(figures.tabAssignments).toBeGreaterThan(before);
    second.child.kill('SIGINT');
    const [code, said] = await second.ended();
    expect([code, said]).toEqual([0, expect.stringMatching(/Lend to .*Thank you\. Helped with \d{2,} tokens/s)]);
    expect(said).toContain('0 B of weights downloaded');
    expect(coordinator.swarm.peers).toEqual([]);
  });
});

describe('shoal donate, where it is refused', () => {
  let http: HttpServer;
  let sockets: Server;
  let url: string;

  /** Wants an invitation, and then another protocol. */
  beforeAll(async () => {
    http = createServer((request, response) => {
      response.statusCode = request.url === '/healthz' ? 200 : 404;
      response.end(JSON.stringify({ status: 'up', version: '99.0.0' }));
    });
    sockets = new Server(http);
    sockets.of('/donor').on('connection', (socket) =>
      socket.on('hello', ({ inviteToken }: Hello, reply: (answer: HelloReply) => void) => {
        const code = inviteToken === 'invite-for-class' ? 'version' : 'invite';
        reply({ ok: false, code, message: `refused with ${code}` });
      }),
    );
    await once(http.listen(0, '127.0.0.1'), 'listening');
    url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  });
  afterAll(() => sockets.close());

  it('says what is wrong and what to do, by its exit code too', async () => {
    const link = `${url}/#invite=invite-for-class`;
    const runs = [
      new Started(url, '--yes', '--hours', 'at night'),
      new Started(url, '--yes', '--device', 'cpu'),
      new Started(url, '--yes', '--device', 'cpu', '--invite', link),
    ];
    const ended = await Promise.all(runs.map((run) => run.ended()));
    expect(ended).toEqual([
      [2, expect.stringContaining('--hours takes hours such as 22:00-07:00, not "at night"')],
      [1, expect.stringMatching(/This swarm is invite-only\. refused with invite\. Give the invitation.* --invite/)],
      [1, expect.stringMatching(/refused with version\..* The coordinator is version 99\.0\.0, this is \d/)],
    ]);
  });
});
