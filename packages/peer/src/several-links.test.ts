import { createReferenceBackend, type ExpertBackend, type TakeSums, type WorkItem } from '@shoal/kernels';
import { encodeCancel, encodeDispatch } from '@shoal/protocol';
import { memoryLinkPair } from '@shoal/transport';
import { beforeEach, describe, expect, it } from 'vitest';
import { ExpertRunner, HOME, MAX_LAPS_RUNNING } from './expert-runner.ts';
import { MAX_LAPS_QUEUED } from './link-laps.ts';
import { heldBackend } from './testing/held-backend.ts';
import { LapAsker, makeLap, makeShards, SHAPE } from './testing/tiny-peer.ts';

let backend: ExpertBackend;
let runner: ExpertRunner;
let asker: LapAsker;
let closed: string[];

beforeEach(async () => {
  const { refs, bytesOf } = await makeShards([1], 4);
  backend = createReferenceBackend(SHAPE);
  for (const { layer, expert, sha256 } of refs) await backend.load(layer, expert, bytesOf.get(sha256)!);
  closed = [];
  runner = new ExpertRunner({
    holds: (layer, expert) => backend.has(layer, expert),
    onLinkClosed: (reason, coordinator) => closed.push(`${coordinator} ${reason}`),
  });
  runner.setBackend(backend);
  const { a, b } = memoryLinkPair();
  runner.attach(b);
  asker = new LapAsker(a);
});

/** All that was sent before on a link has arrived and been handled: the link keeps its order, and this is refused at once. */
const arrived = (from: LapAsker) => from.ask(makeLap(1, [0xdead]), 5);
/** For what must not happen meanwhile. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 5));

describe('links of several coordinators', () => {
  /** A guest's end of a link to the tab. */
  function guest(name: string) {
    const ends = memoryLinkPair();
    runner.attach(ends.b, name);
    return { ...ends, asker: new LapAsker(ends.a) };
  }
  /** Laps in the order in which they are answered. */
  function noting(order: string[]) {
    return (name: string, answer: Promise<unknown>) => void answer.then(() => order.push(name));
  }

  it('take turns, so that one that floods delays no other by more than what runs and one round', async () => {
    const held = heldBackend(backend);
    runner.setBackend(held.backend);
    const [flooding, other] = [guest('c-00000001'), guest('c-00000002')];
    const order: string[] = [];
    const note = noting(order);
    for (let i = 0; i < MAX_LAPS_RUNNING + MAX_LAPS_QUEUED; i++) note('flood', flooding.asker.ask(makeLap(1, [0]), 5));
    await arrived(flooding.asker);
    note('home', asker.ask(makeLap(1, [1]), 5));
    note('other', other.asker.ask(makeLap(1, [2]), 5));
    await Promise.all([arrived(asker), arrived(other.asker)]);
    const releasing = setInterval(held.release, 1);
    await expect.poll(() => order.length).toBe(MAX_LAPS_RUNNING + MAX_LAPS_QUEUED + 2);
    clearInterval(releasing);
    // Those that ran, and one round of all three.
    const last = MAX_LAPS_RUNNING + 3;
    expect(order.slice(0, last)).toEqual(expect.arrayContaining(['home', 'other']));
    expect(runner.counters.refused).toBe(3);
  });

  it('share every batch, whatever waits of one of them', async () => {
    const batches: number[][] = [];
    const gates: (() => void)[] = [];
    const together: ExpertBackend = Object.assign(Object.create(backend) as ExpertBackend, {
      shape: SHAPE,
      runTogether: async (laps: readonly WorkItem[], take: TakeSums) => {
        batches.push(laps.map(({ numRows }) => numRows));
        await new Promise<void>((resolve) => gates.push(resolve));
        for (const [i, lap] of laps.entries()) take(i, (await backend.run(lap)).partial, 1);
      },
    });
    runner.setBackend(together);
    const flooding = guest('c-00000001');
    // Rows tell the links apart.
    const flood = Array.from({ length: 20 }, () => flooding.asker.ask(makeLap(1, [0], 20), 5));
    await arrived(flooding.asker);
    const own = Array.from({ length: 3 }, () => asker.ask(makeLap(1, [1], 1), 5));
    await arrived(asker);
    const opening = setInterval(() => gates.splice(0).forEach((open) => open()), 1);
    await Promise.all([...flood, ...own]);
    clearInterval(opening);
    // Two ran; then a lap of each link in turn, up to 64 rows.
    expect(batches.slice(0, 3)).toEqual([[20], [20], [1, 20, 1, 20, 1, 20]]);
  });

  it('may use the same ids at the same time: a cancel is for the lap of its own link', async () => {
    const held = heldBackend(backend);
    runner.setBackend(held.backend);
    const { a, asker: guests } = guest('c-00000001');
    const order: string[] = [];
    const note = noting(order);
    // Both have id 1, and both run; 6 waits here and there.
    const ask = (from: LapAsker, name: string) => {
      for (let id = 1; id <= MAX_LAPS_RUNNING + 2; id++) note(`${name} ${id}`, from.ask(makeLap(1, [0]), 5));
    };
    note('home 1', asker.ask(makeLap(1, [0]), 5));
    note('guest 1', guests.ask(makeLap(1, [0]), 5));
    await Promise.all([arrived(asker), arrived(guests)]);
    ask(asker, 'later home');
    ask(guests, 'later guest');
    await a.send(encodeCancel({ lapId: 1 }));
    // The `arrived` of each link was 2.
    await a.send(encodeCancel({ lapId: 8 }));
    await Promise.all([arrived(asker), arrived(guests)]);
    const releasing = setInterval(held.release, 1);
    await expect.poll(() => order.length).toBe(2 * (MAX_LAPS_RUNNING + 3) - 2);
    await turn();
    clearInterval(releasing);
    expect(order).not.toContain('guest 1');
    expect(order).not.toContain(`later guest ${MAX_LAPS_RUNNING + 2}`);
    expect(order).toEqual(expect.arrayContaining(['home 1', `later home ${MAX_LAPS_RUNNING + 2}`]));
    expect(runner.counters.cancelled).toBe(2);
  });

  it('name adapters only if the link is the home’s, whose numbers they are', async () => {
    const named: number[] = [];
    const withAdapters = new ExpertRunner({
      holds: () => true,
      adaptersOf: ({ adapterNumbers }) => void named.push(...adapterNumbers!.experts),
      onLinkClosed: () => {},
    });
    withAdapters.setBackend(backend);
    const adapterNumbers = {
      ends: Uint32Array.of(1),
      of: Uint32Array.of(0),
      scales: new Float32Array(3),
      experts: [7],
    };
    const frame = encodeDispatch({
      lapId: 1,
      epoch: 5,
      hiddenSize: SHAPE.hiddenSize,
      ...makeLap(1, [0], 1),
      adapterNumbers,
    });
    for (const coordinator of ['c-00000001', HOME]) {
      const { a, b } = memoryLinkPair();
      withAdapters.attach(b, coordinator);
      expect((await new LapAsker(a).sendRaw(frame, 1)).refusal).toBe('stale-epoch');
      expect(named).toEqual(coordinator === HOME ? [7] : []);
    }
  });

  it('end one by one: neither a breach of the protocol nor a closed link affects the others', async () => {
    const [rude, other] = [guest('c-00000001'), guest('c-00000002')];
    await rude.a.send(new Uint8Array(64).fill(255));
    await arrived(rude.asker);
    rude.wire.die('abrupt');
    await expect.poll(() => closed).toEqual(['c-00000001 failed']);
    runner.detach('goodbye', HOME);
    expect((await other.asker.ask(makeLap(1, [0]), 5)).combine).toBeDefined();
    expect([...runner.links.keys()]).toEqual(['c-00000002']);
    // What has passed on links that have ended counts as well.
    const { bytesReceived } = runner.counters;
    expect(bytesReceived).toBeGreaterThan(other.b.stats().bytesReceived);
    runner.setPaused(true);
    expect((await other.asker.ask(makeLap(1, [0]), 5)).refusal).toBe('paused');
  });
});
