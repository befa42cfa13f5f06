import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { answer } from './answers.ts';
import { GOLDEN } from './golden.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';
import { tinyConfig } from './tiny-coordinator.ts';

const ONE_WAY_MS = 5;
const LAYERS = 5;

interface Span {
  name: string;
  row: string;
  /** Microseconds. */
  from: number;
  to: number;
  args: {
    microBatch?: number;
    pass?: number;
    layer?: number;
    rows?: number;
    lap?: number;
    peer?: string;
    bytes?: number;
  };
}

interface TraceLine {
  name: string;
  ph: string;
  ts: number;
  dur: number;
  pid: number;
  tid: number;
  args: Span['args'] & { name?: string };
}

let dir: string;
let core: Core;
const donors: VirtualDonor[] = [];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shoal-half-batches-'));
});
afterEach(async () => {
  await core.close();
  await Promise.all(donors.splice(0).map((donor) => donor.close()));
  await rm(dir, { recursive: true });
});

/** Two tabs that share the experts, each with some latency. */
async function open(halfBatches: 'on' | 'off'): Promise<void> {
  const traceFile = join(dir, `${halfBatches}.json`);
  core = await createCore(
    tinyConfig({
      replicas: 1,
      halfBatches,
      traceFile,
    }),
  );
  const wire = { aToB: { delayMs: ONE_WAY_MS }, bToA: { delayMs: ONE_WAY_MS } };
  for (let i = 0; i < 2; i++) donors.push(await VirtualDonor.join(core, { wire }));
  await until('all experts to be served', () => covered(core));
}

const requests = GOLDEN.slice(0, 4).map(({ prompt_ids: promptIds }, i) => ({
  promptIds,
  options: { seed: 60 + i, temperature: 0.8, topP: 0.95, maxTokens: 8 },
}));
const answers = async (): Promise<number[][]> =>
  (await Promise.all(requests.map(({ promptIds, options }) => answer(core, promptIds, options)))).map(({ ids }) => ids);

async function readTrace(path: string): Promise<Span[]> {
  const lines = JSON.parse(await readFile(path, 'utf8')) as TraceLine[];
  const rows = new Map<string, string>();
  for (const { ph, name, pid, tid, args } of lines) {
    if (ph === 'M' && name === 'thread_name') rows.set(`${pid} ${tid}`, args.name!);
  }
  return lines
    .filter(({ ph }) => ph === 'X')
    .map(({ name, pid, tid, ts, dur, args }) => ({
      name,
      row: rows.get(`${pid} ${tid}`)!,
      from: ts,
      to: ts + dur,
      args,
    }))
    .sort((a, b) => a.from - b.from);
}

/** Times are written to a tenth of a microsecond. */
const within = (inner: Span, outer: Span): boolean => inner.from >= outer.from - 1 && inner.to <= outer.to + 1;

it('micro-batches give every stream the bits that it has alone, and the timeline shows each half computed while the other’s laps are out', async () => {
  await open('on');
  const alone: number[][] = [];
  for (const { promptIds, options } of requests) alone.push((await answer(core, promptIds, options)).ids);
  const aloneMs = core.scheduler.occupancy.overlappedMs;
  expect(await answers()).toEqual(alone);
  const { occupancy } = core.scheduler;
  const { frameBytes, hedges, redispatches, laps } = core.dispatcher.figures;
  expect(occupancy.overlappedMs).toBeGreaterThan(aloneMs);
  await core.close();
  // Not before: after its answers have ended, a pass may still be computing for drafts of others.
  const { passes } = core.scheduler;
  const spans = await readTrace(join(dir, 'on.json'));

  checkRows(spans);
  const engine = spans.filter(({ row }) => row === 'engine');
  for (const [i, span] of engine.entries()) if (i > 0) expect(span.from).toBeGreaterThanOrEqual(engine[i - 1]!.to - 1);
  const waits = spans.filter((span) => span.name.startsWith('waits') && makesLap(span));
  expect(waits.length).toBeLessThanOrEqual(laps);
  expect(waits.length).toBeGreaterThan(0.5 * laps);
  for (const microBatch of [1, 2]) {
    // More than one pass's worth on both sides, so it is no accident.
    const others = lapsOf(spans).filter(({ args }) => args.microBatch !== microBatch);
    const meanwhile = engine.filter(
      (span) => span.args.microBatch === microBatch && others.some((lap) => overlap(span, lap)),
    );
    expect(meanwhile.length).toBeGreaterThan(LAYERS);
  }

  const passSpans = spans.filter(({ name }) => name === 'pass');
  expect(passSpans).toHaveLength(passes);
  for (const wait of waits) {
    expect(passSpans.some(({ args, ...pass }) => args.pass === wait.args.pass && within(wait, { args, ...pass }))).toBe(
      true,
    );
  }
  checkLaps(spans, { frameBytes, hedges, redispatches });
  // The shared expert runs while its own lap is out.
  const shared = engine.filter((span) => span.name.startsWith('shared-expert') && makesLap(span));
  expect(shared.length).toBe(laps);
});

/** The drafter's experts are the coordinator's own. */
const makesLap = ({ args }: Span): boolean => args.layer! < core.config.numHiddenLayers;

/** From the first frame out to the last one back. */
function lapsOf(spans: readonly Span[]): Span[] {
  const laps = new Map<string, Span>();
  for (const span of spans) {
    if (span.name !== 'out' && span.name !== 'back') continue;
    const key = `${span.args.pass} ${span.args.layer}`;
    const lap = laps.get(key) ?? { ...span };
    laps.set(key, { ...lap, from: Math.min(lap.from, span.from), to: Math.max(lap.to, span.to) });
  }
  return [...laps.values()];
}

const overlap = (a: Span, b: Span): boolean => a.from < b.to && b.from < a.to;

/** Spans of a row that overlap must be nested: viewers show nothing else. */
function checkRows(spans: readonly Span[]): void {
  for (const row of new Set(spans.map((span) => span.row))) {
    const open: Span[] = [];
    const ofRow = spans.filter((span) => span.row === row).sort((a, b) => a.from - b.from || b.to - a.to);
    for (const span of ofRow) {
      while (open.length > 0 && open.at(-1)!.to <= span.from) open.pop();
      if (open.length > 0) expect(span.to).toBeLessThanOrEqual(open.at(-1)!.to);
      open.push(span);
    }
    expect(ofRow.length).toBeGreaterThan(0);
  }
}

/** Queue and compute lie within their lap, and bytes equal the dispatcher's. */
function checkLaps(
  spans: readonly Span[],
  counted: { frameBytes: number; hedges: number; redispatches: number },
): void {
  expect([counted.hedges, counted.redispatches]).toEqual([0, 0]);
  let bytes = 0;
  let seen = 0;
  for (const out of spans.filter(({ name }) => name === 'out')) {
    const ofLap = spans.filter(({ args }) => args.lap === out.args.lap && args.peer === out.args.peer);
    const back = ofLap.find(({ name }) => name === 'back')!;
    const compute = ofLap.find(({ name }) => name.startsWith('compute'))!;
    expect(within(compute, { ...out, to: back.to })).toBe(true);
    expect(compute.row.startsWith(out.args.peer!)).toBe(true);
    // Both directions of the wire, without the tab's own time.
    expect(out.to - out.from + back.to - back.from).toBeGreaterThanOrEqual(2 * ONE_WAY_MS * 1000 - 2000);
    bytes += out.args.bytes! + back.args.bytes!;
    seen++;
  }
  expect(seen).toBeGreaterThan(LAYERS);
  expect(bytes).toBe(counted.frameBytes);
}

it('micro-batches are off where they were forbidden: nothing is computed while a lap is out but its own shared expert', async () => {
  await open('off');
  await answers();
  expect(core.scheduler.occupancy.overlappedMs).toBe(0);
  await core.close();
  const spans = await readTrace(join(dir, 'off.json'));
  const laps = lapsOf(spans);
  for (const span of spans.filter(({ row }) => row === 'engine')) {
    expect(laps.some((lap) => lap.args.pass !== span.args.pass && overlap(span, lap))).toBe(false);
  }
  const passes = spans.filter(({ name }) => name === 'pass');
  expect(passes.every(({ row }) => row === 'micro-batch 1')).toBe(true);
  for (const [i, pass] of passes.entries()) if (i > 0) expect(pass.from).toBeGreaterThanOrEqual(passes[i - 1]!.to - 1);
  // The shared expert begins after its own lap was sent and before that lap is back.
  const shared = spans.filter((span) => span.name.startsWith('shared-expert') && makesLap(span));
  const ofSameLap = (name: string, { args }: Span): Span =>
    spans.find((span) => span.name === name && span.args.pass === args.pass && span.args.layer === args.layer)!;
  for (const span of shared) {
    expect(span.from).toBeGreaterThanOrEqual(ofSameLap('out', span).from - 1);
    expect(span.from).toBeLessThan(ofSameLap('back', span).to);
  }
  expect(shared.length).toBe(core.dispatcher.figures.laps);
});
