import { uniformWorkItem } from '@shoal/model';
import { randomBytes } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { encodeCombine, encodeDispatch, encodeRefuse } from '@shoal/protocol';
import { memoryLinkPair } from '@shoal/transport';
import { io, type Socket } from 'socket.io-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Coordinator, type Core, createCore } from '../../coordinator/src/index.ts';
import { UNAUTHORIZED } from '../../coordinator/src/access/sign-in.ts';
import { answer } from './answers.ts';
import { GOLDEN } from './golden.ts';
import { countAsSlow, covered, hello, until, VirtualDonor } from './virtual-donor.ts';
import { startTinyCoordinator, tinyConfig } from './tiny-coordinator.ts';

const HIDDEN = 192;

/** Frames that no honest tab sends, each of another kind. `n` varies the bytes. */
const HOSTILE_FRAMES: ((n: number) => Uint8Array)[] = [
  () => new Uint8Array(0),
  (n) => randomBytes(1 + (n % 2000)),
  (n) => honestCombine(n).subarray(0, 3 + (n % 30)),
  (n) => mutated(honestCombine(n), 0, 0xf1), // an unknown version
  (n) => mutated(honestCombine(n), 0, 0x69), // a format that no combine has
  (n) => mutated(honestCombine(n), 0, 0x63), // a cancel
  (n) => honestCombine(n), // a lap that was never asked for
  (n) => encodeRefuse({ lapId: n, reason: 'busy' }),
  (n) => mutated(honestCombine(n), 0, 0x65), // rows in int8
  (n) => new Uint8Array(Buffer.concat([honestCombine(n), Buffer.alloc(5000)])),
  (n) =>
    encodeDispatch({
      lapId: n,
      epoch: 1,
      hiddenSize: HIDDEN,
      ...uniformWorkItem({
        layer: 1,
        numRows: 1,
        rows: new Uint16Array(HIDDEN),
        experts: Uint16Array.of(0),
        weights: Float32Array.of(1),
      }),
    }),
];

function honestCombine(lapId: number): Uint8Array {
  const partial = new Float32Array(HIDDEN);
  return encodeCombine({ lapId, numRows: 1, hiddenSize: HIDDEN, queueUs: 0, computeUs: 0, partial });
}

function mutated(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] = value;
  return copy;
}

describe('LapClient: hostile tabs', () => {
  let core: Core;
  let honest: VirtualDonor[];

  beforeAll(async () => {
    // One more than the honest tabs, so that a tab that joins is given every expert.
    core = await createCore(tinyConfig({ replicas: 3 }));
    honest = await Promise.all([VirtualDonor.join(core), VirtualDonor.join(core)]);
    await until('the honest tabs to serve', () => covered(core));
  });
  afterAll(async () => {
    await core.close();
    await Promise.all(honest.map((donor) => donor.close()));
  });

  it('send 1,000 hostile frames and are dropped for each, while an answer goes on unharmed', async () => {
    const attack = async (n: number): Promise<string | undefined> => {
      let farewell: string | undefined;
      const { a, b } = memoryLinkPair();
      const session = core.swarm.join(hello(randomBytes(16).toString('hex'), 2 ** 26), 'memory', {
        assign: () => {},
        standing: () => {},
        dismiss: (message) => (farewell = message.code),
      });
      core.swarm.attach(session, a);
      const frame = HOSTILE_FRAMES[n % HOSTILE_FRAMES.length]!(n);
      await b.send(frame).catch(() => {});
      await until(`attack ${n} to be answered`, () => session.state === 'gone' || frame.length === 0);
      b.close();
      await until(`attacker ${n} to be gone`, () => session.state === 'gone');
      return farewell;
    };
    const attack1000 = new AbortController();
    const answering = (async () => {
      let answers = 0;
      while (!attack1000.signal.aborted) {
        const { ids } = await answer(core, GOLDEN[6]!.prompt_ids, { maxTokens: 12 });
        expect(ids).toEqual(GOLDEN[6]!.greedy_ids.slice(0, 12));
        answers++;
      }
      return answers;
    })();
    await attackMany(attack, 0, 100);
    const before = heapAfterCollection();
    const farewells = await attackMany(attack, 100, 1000);
    const grown = heapAfterCollection() - before;
    attack1000.abort();
    expect(await answering).toBeGreaterThan(0);
    for (const [i, code] of farewells.entries()) {
      if (HOSTILE_FRAMES[i % HOSTILE_FRAMES.length] !== HOSTILE_FRAMES[0])
        expect({ i, code }).toEqual({ i, code: 'protocol' });
    }
    expect(core.swarm.peers).toHaveLength(2);
    expectFewLocal(core);
    // 1,000 donors are remembered by a hash and their totals, and the log is bounded: nothing else stays.
    expect(grown).toBeLessThan(8 * 2 ** 20);
  });

  it.each([
    ['NaN', (frame: Uint8Array) => mutated(mutated(frame, 8, 0x00), 9, 0x7e)],
    ['∞', (frame: Uint8Array) => mutated(mutated(frame, 8, 0x00), 9, 0x7c)],
    ['a row too few', (frame: Uint8Array) => frame.subarray(0, frame.length - 2 * HIDDEN)],
    ['the rows of another format', (frame: Uint8Array) => mutated(frame, 0, frame[0]! | 4)],
    ['another lap', (frame: Uint8Array) => mutated(frame, 3, frame[3]! ^ 0x40)],
  ])('that answer a lap with %s are dropped, and the answer is the right one', async (_, lie) => {
    let lying = false;
    const liar = await VirtualDonor.join(core, { tamper: (frame) => (lying ? lie(frame) : frame) });
    await until('the liar to serve', () => covered(core));
    lying = true;
    countAsSlow(...honest);
    const golden = GOLDEN[3]!;
    // Until the liar is asked for a lap; the answer then ends without it.
    while (liar.session.state !== 'gone') {
      const { ids } = await answer(core, golden.prompt_ids, { maxTokens: 24 });
      expect(ids).toEqual(golden.greedy_ids.slice(0, 24));
    }
    expect(liar.dismissed).toMatchObject({ code: 'protocol', retry: false });
    expectFewLocal(core);
    await liar.close();
  });
});

/** A tab whose first lap is late is not waited for; but the attackers themselves are no reason to compute here. */
const LATE_LAP_ASSIGNMENTS = 64;
function expectFewLocal({ dispatcher: { figures } }: Core): void {
  expect(figures.fallbackAssignments).toBeLessThan(LATE_LAP_ASSIGNMENTS + 0.02 * figures.tabAssignments);
}

async function attackMany(attack: (n: number) => Promise<string | undefined>, from: number, to: number) {
  const farewells: (string | undefined)[] = [];
  for (let n = from; n < to; n += 20) {
    farewells.push(...(await Promise.all(Array.from({ length: 20 }, (_, i) => attack(n + i)))));
  }
  return farewells;
}

function heapAfterCollection(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}

describe('DonorGateway: hostile signalling', () => {
  let coordinator: Coordinator;
  const sockets: Socket[] = [];

  beforeAll(async () => {
    coordinator = await startTinyCoordinator({
      replicas: 1,
      drainTimeoutMs: 100,
    });
  });
  afterAll(async () => {
    for (const socket of sockets) socket.close();
    await coordinator.close();
  });

  function connect(): Socket {
    const socket = io(`${coordinator.url}/donor`, { reconnection: false, forceNew: true, transports: ['websocket'] });
    sockets.push(socket);
    return socket;
  }

  const disconnected = (socket: Socket): Promise<void> =>
    new Promise((resolve) => socket.once('disconnect', () => resolve()));

  it.each([
    ['nothing', [undefined]],
    ['null', [null]],
    ['a number', [42]],
    ['a pledge below zero', [hello('x'.repeat(32), -1)]],
    ['a pledge of NaN', [hello('x'.repeat(32), Number.NaN)]],
    ['a token with a path in it', [hello('../../../../etc/passwd-xxxxxxxxx', 2 ** 26)]],
    [
      'a thousand versions',
      [{ ...hello('x'.repeat(32), 2 ** 26), protocolVersions: Array.from({ length: 1000 }, () => 1) }],
    ],
    ['a prototype to pollute', [JSON.parse('{"__proto__": {"donorToken": "x"}, "constructor": {}}')]],
  ])('a hello of %s is refused with a reason, and the socket closed', async (_, [message]) => {
    const socket = connect();
    const gone = disconnected(socket);
    const reply = (await socket.timeout(60_000).emitWithAck('hello', message)) as { ok: boolean; code: string };
    expect(reply).toMatchObject({ ok: false, code: 'invalid' });
    await gone;
    expect(coordinator.swarm.peers).toHaveLength(0);
  });

  it('an unknown version is told which are known', async () => {
    const socket = connect();
    const reply: unknown = await socket
      .timeout(60_000)
      .emitWithAck('hello', { ...hello('v'.repeat(32), 2 ** 26), protocolVersions: [99] });
    expect(reply).toMatchObject({
      ok: false,
      code: 'version',
      message: expect.stringContaining('this coordinator 3.'),
    });
  });

  it('a flood of messages closes the socket', async () => {
    const socket = connect();
    const gone = disconnected(socket);
    for (let i = 0; i < 500; i++) socket.emit('progress', { epoch: i });
    await gone;
    expect(coordinator.swarm.peers).toHaveLength(0);
  });

  it.each([
    ['for namespaces that do not exist', '0/nowhere,'],
    ['that answer nothing', '3/donor,99[]'],
    ['that are no socket.io packets', 'x'],
  ])('a flood of packets %s closes the connection', async (_, packet) => {
    const socket = connect();
    await new Promise<void>((resolve) => socket.once('connect', () => resolve()));
    const gone = disconnected(socket);
    for (let i = 0; i < 2_000; i++) socket.io.engine.write(packet);
    await gone;
  });

  it('a message over the limit closes the socket', async () => {
    const socket = connect();
    const gone = disconnected(socket);
    socket.emit('signal', { sdp: 'x'.repeat(2 ** 20) });
    await gone;
  });

  it('a malformed message after a good hello sends the tab away', async () => {
    const socket = connect();
    const gone = disconnected(socket);
    const dismissed = new Promise((resolve) => socket.once('dismissed', resolve));
    const reply: unknown = await socket.timeout(60_000).emitWithAck('hello', hello('g'.repeat(32), 2 ** 26));
    expect(reply).toMatchObject({ ok: true });
    socket.emit('ready', { epoch: 'now' });
    expect(await dismissed).toMatchObject({ code: 'protocol', retry: false });
    await gone;
    expect(coordinator.swarm.peers).toHaveLength(0);
  });

  it('a signal for a connection that was not granted sends the tab away', async () => {
    const socket = connect();
    const gone = disconnected(socket);
    const dismissed = new Promise((resolve) => socket.once('dismissed', resolve));
    const reply: unknown = await socket.timeout(60_000).emitWithAck('hello', hello('c'.repeat(32), 2 ** 26));
    // The default model's rows are far below one burst.
    expect(reply).toMatchObject({ ok: true, lapConnections: 1 });
    socket.emit('signal', { type: 'offer', sdp: 'v=0', connection: 1 });
    expect(await dismissed).toMatchObject({ code: 'protocol', retry: false });
    await gone;
    expect(coordinator.swarm.peers).toHaveLength(0);
  });

  it('a console without the token sees nothing', async () => {
    const socket = io(`${coordinator.url}/console`, { reconnection: false, forceNew: true, auth: { token: 'guess' } });
    sockets.push(socket);
    const outcome = await new Promise((resolve) => {
      socket.once('connect_error', (error) => resolve(error.message));
      socket.once('snapshot', resolve);
    });
    expect(outcome).toBe(UNAUTHORIZED);
  });
});
