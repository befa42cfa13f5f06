import { cpus, loadavg } from 'node:os';
import { createRng } from '@shoal/model';
import { garbageTable, measureGarbage, requireLittle } from './lap-garbage.ts';
import { type LapDims, LapTabs, type LapTab, oneRowLap } from './lap-tabs.ts';
import type { LapMoments } from './laps-page/messages.ts';
import { measureMerging, type Merging, mergingTable } from './lap-merging.ts';
import { quantileOf } from './statistics.ts';
import { formatTable, median } from './table.ts';

const TABS = 4;
const WARM_UP_LAPS = 100;
/** Laps are sent in blocks, so that the machine's load can be measured for each block. */
const [BLOCKS, BLOCK_LAPS] = [40, 40];
/** A block counts as idle from this many idle cores on: the lap itself keeps about one busy. */
const IDLE_CORES = 0.7;
const KERNEL_RUNS = 100;
/** The default model's expert shape. */
const SHAPE = { hiddenSize: 192, moeIntermediateSize: 64, quant: 'f16' } as const;
const DIMS: LapDims = { hiddenSize: SHAPE.hiddenSize, layers: 2, experts: 32, topK: 4 };

/** The stages of a lap in order, in milliseconds. */
const STAGES = [
  ['coordinator: encode the frame', 'encode'],
  ['socket and SCTP to the tab', 'out'],
  ['tab: decode, queue', 'decode'],
  ['tab: stage, write buffers, encode passes', 'stage'],
  ['tab: submit', 'submit'],
  ['GPU process and kernel, until mapped', 'gpu'],
  ['  of it the kernel, by its own clock', 'kernel'],
  ['tab: encode the answer, unmap', 'answer'],
  ['send(), socket and SCTP back', 'back'],
  ['  both ways on the wire', 'wire'],
  ['coordinator: decode, resolve', 'resolve'],
  ['lap', 'lap'],
  ['lap - kernel', 'overhead'],
] as const;
type Stage = (typeof STAGES)[number][1];
type Stages = Record<Stage, number>;

export interface LapOverhead {
  loadAverage: number;
  /** Medians in ms, of laps while the machine had an idle core (null if there were none) and of all laps. */
  idle: { laps: number; stages: Stages; p5: Stages; p95: Stages } | null;
  all: { laps: number; stages: Stages; p5: Stages; p95: Stages };
  /** First lap of each tab after loading. */
  firstLapMs: number[];
  merging: Merging[];
}

/** Measures a one-row lap's cost besides its kernel in real tabs, and its garbage (throws if there is too much). */
export async function benchLaps({ json }: { json: boolean }): Promise<void> {
  const result = await measureLaps();
  if (!json) process.stdout.write(`${overheadTable(result)}\n\n${mergingTable(result.merging)}\n\n`);
  const garbage = await measureGarbage();
  if (json) process.stdout.write(`${JSON.stringify({ cores: cpus().length, ...result, garbage }, null, 2)}\n`);
  else process.stdout.write(garbageTable(garbage));
  requireLittle(garbage);
}

function overheadTable({ idle, all, loadAverage, firstLapMs }: LapOverhead): string {
  const ms = (value: number | undefined): string => value?.toFixed(3) ?? '–';
  const rows = STAGES.map(([name, stage]) => [
    name,
    ms(idle?.stages[stage]),
    ms(idle?.p95[stage]),
    ms(all.p5[stage]),
    ms(all.stages[stage]),
    ms(all.p95[stage]),
  ]);
  const head = ['ms', 'idle core', '95 %', 'all: 5 %', 'median', '95 %'];
  return (
    `${formatTable([head, ...rows])}\n\nMedians of laps of one row and ${DIMS.topK} experts, ${TABS} tabs taking turns, ` +
    `${cpus().length} cores, load ${loadAverage.toFixed(2)}: ` +
    `${idle?.laps ?? 0} of ${all.laps} while ${IDLE_CORES} cores or more were idle. ` +
    `First laps of the tabs: ${firstLapMs.map(ms).join(', ')} ms. Medians of stages need not add up to the lap's.`
  );
}

/** Runs one lap at a time, with the tabs taking turns. */
async function measureLaps(): Promise<LapOverhead> {
  const tabs = await LapTabs.launch(['--enable-webgpu-developer-features']);
  try {
    for (let i = 0; i < TABS; i++) await tabs.open({ shape: SHAPE, layers: DIMS.layers, experts: DIMS.experts });
    const rng = createRng(3);
    const firstLapMs: number[] = [];
    for (const { laps } of tabs.tabs) firstLapMs.push((await laps.ask(oneRowLap(rng, DIMS))).timing.lapMs);
    for (let i = 0; i < WARM_UP_LAPS; i++) await tabs.tabs[i % TABS]!.laps.ask(oneRowLap(rng, DIMS));
    const kernelMs: number[] = [];
    for (const tab of tabs.tabs) {
      const answer = await tab.ask({ type: 'kernel', numRows: 1, topK: DIMS.topK, runs: KERNEL_RUNS / TABS });
      if (answer.type === 'kernel') kernelMs.push(...answer.kernelMs);
    }
    const samples = await watchedLaps(tabs.tabs, rng);
    const merging = await measureMerging(tabs.tabs[0]!, () => tabs.tabs[0]!.laps.ask(oneRowLap(rng, DIMS)));
    const idle = samples.filter(({ idleCores }) => idleCores >= IDLE_CORES);
    return {
      loadAverage: loadavg()[0]!,
      idle: idle.length === 0 ? null : summary(idle, kernelMs),
      all: summary(samples, kernelMs),
      firstLapMs,
      merging,
    };
  } finally {
    await tabs.close();
  }
}

function summary(samples: readonly Measured[], kernelMs: readonly number[]) {
  const kernel = median(kernelMs);
  const of = (q: number): Stages =>
    Object.fromEntries(
      STAGES.map(([, stage]) => {
        if (stage === 'kernel') return [stage, quantileOf(kernelMs, q)];
        const values = samples.map((sample) => (stage === 'overhead' ? sample.lap - kernel : sample[stage]));
        return [stage, quantileOf(values, q)];
      }),
    ) as Stages;
  return { laps: samples.length, stages: of(0.5), p5: of(0.05), p95: of(0.95) };
}

interface Outside {
  asked: number;
  sent: number;
  arrived: number;
  resolved: number;
  /** Idle cores while its block was measured. */
  idleCores: number;
}

type Measured = Record<Exclude<Stage, 'kernel' | 'overhead'>, number> & { idleCores: number };

async function watchedLaps(tabs: readonly LapTab[], rng: () => number): Promise<Measured[]> {
  const outside: Outside[][] = tabs.map(() => []);
  let current: Outside = { asked: 0, sent: 0, arrived: 0, resolved: 0, idleCores: 0 };
  for (const tab of tabs) {
    await tab.ask({ type: 'watch' });
    const { channel } = tab.link;
    const send = channel.send.bind(channel);
    channel.send = (data) => {
      current.sent = performance.now();
      send(data);
    };
    const { onFrame } = tab.link;
    tab.link.onFrame = (frame) => {
      current.arrived = performance.now();
      onFrame!(frame);
    };
  }
  for (let block = 0; block < BLOCKS; block++) {
    const meter = idleMeter();
    const inBlock: Outside[] = [];
    for (let i = 0; i < BLOCK_LAPS; i++) {
      const tab = i % tabs.length;
      const request = oneRowLap(rng, DIMS);
      current = { asked: performance.now(), sent: 0, arrived: 0, resolved: 0, idleCores: 0 };
      await tabs[tab]!.laps.ask(request);
      current.resolved = performance.now();
      outside[tab]!.push(current);
      inBlock.push(current);
      // A forward pass takes about this long between laps; without the pause every lap would meet a warm loop.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const idleCores = meter();
    for (const lap of inBlock) lap.idleCores = idleCores;
  }
  const all: Measured[] = [];
  for (const [i, tab] of tabs.entries()) {
    const answer = await tab.ask({ type: 'moments' });
    if (answer.type !== 'moments') throw new Error(`the tab answered ${answer.type}`);
    all.push(...joined(outside[i]!, answer.moments));
  }
  return all;
}

/**
 * Joins times of two clocks, which drift apart by milliseconds every few seconds: each block gets its own offset, which
 * makes its fastest way out as long as its fastest way back. The sum of both ways is exact in any case.
 */
function joined(outside: readonly Outside[], inside: readonly LapMoments[]): Measured[] {
  if (outside.length !== inside.length)
    throw new Error(`${outside.length} laps asked, ${inside.length} seen in the tab`);
  const perBlock = outside.length / BLOCKS;
  return Array.from({ length: BLOCKS }, (_, block) => {
    const [first, end] = [block * perBlock, (block + 1) * perBlock];
    return joinedBlock(outside.slice(first, end), inside.slice(first, end));
  }).flat();
}

function joinedBlock(outside: readonly Outside[], inside: readonly LapMoments[]): Measured[] {
  const out = outside.map((lap, i) => inside[i]!.arrived - lap.sent);
  const back = outside.map((lap, i) => lap.arrived - inside[i]!.send);
  const offset = (Math.min(...out) - Math.min(...back)) / 2;
  return outside.map((lap, i) => {
    const tab = inside[i]!;
    return {
      encode: lap.sent - lap.asked,
      out: out[i]! - offset,
      decode: tab.run - tab.arrived,
      stage: tab.submit - tab.run,
      submit: tab.submitted - tab.submit,
      gpu: tab.mapped - tab.submitted,
      answer: tab.send - tab.mapped,
      back: back[i]! + offset,
      wire: out[i]! + back[i]!,
      resolve: lap.resolved - lap.arrived,
      lap: lap.resolved - lap.asked,
      idleCores: lap.idleCores,
    };
  });
}

/** Returns a function that gives the average number of idle cores since the meter was made. */
function idleMeter(): () => number {
  const read = (): { idle: number; all: number } => {
    const times = cpus().map((cpu) => cpu.times);
    const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
    return { idle: sum(times.map(({ idle }) => idle)), all: sum(times.flatMap((time) => Object.values(time))) };
  };
  const before = read();
  return () => {
    const now = read();
    return (cpus().length * (now.idle - before.idle)) / Math.max(1, now.all - before.all);
  };
}
