import { parseArgs } from 'node:util';
import { formatTable } from '../../test/bench/table.ts';
import { justEnoughTabs, type StillRow, stillRows } from './baseline-rows.ts';
import {
  type ClusterOptions,
  type ClusterResult,
  DONOR_LINES,
  DOWNLOAD_SOURCES,
  type DonorLines,
  type DownloadSource,
  printCluster,
  simulateCluster,
} from './cluster/cluster.ts';
import { type ChurnResult, simulateChurn } from './churn.ts';
import { DISTRIBUTIONS } from './donors.ts';
import { SIM_MODELS, type SimModel } from './models.ts';
import { RETRANSMISSION_MS } from './virtual-link.ts';
import { type PlanningTimes, planningTimes } from './planning-times.ts';
import type { PlannerName } from './planners.ts';

const PARTS = ['still', 'churn', 'planning'] as const;
/** It takes minutes, and is not part of `all`. */
const CLUSTER = 'cluster';
const PLANNERS: readonly PlannerName[] = ['shoal', 'hash', 'round-robin'];
/** Baselines move many experts at every join, which takes minutes to roll out over thousands of tabs. */
const MAX_DONORS_FOR_BASELINES = 500;

const HELP = `npm run simulate -- [options]

Virtual tabs under the coordinator's own placement, swarm, rollout and dispatcher, with a virtual clock: how many peers a
token needs, what it sends, and what happens when donors come and go. Tabs answer real frames after the time that a line and
a GPU would take, and compute nothing. Everything random is seeded; the distributions are assumptions and are printed.

  --model NAME        ${Object.keys(SIM_MODELS).join(' | ')} | all (all)
  --part NAME         still | churn | planning | all (all), or cluster: several coordinators of one swarm
  --tabs N            tabs of 1 GiB for "still" (just enough for one copy); tabs that are there for "cluster" (10000)
  --donors N          donors for "churn", of whom 40 % are there at a time (5 × the tabs of "still", at least 40)
  --planner NAME      for "churn": ${PLANNERS.join(' | ')} | all (all up to ${MAX_DONORS_FOR_BASELINES} donors, else shoal)
  --replicas N        copies of each expert for "churn" and "cluster" (2)
  --streams N         streams that decode together (8); of each coordinator for "cluster" (64)
  --minutes N         virtual minutes of churn (5)
  --coordinators N,…  for "cluster" (1,2,4,8)
  --lines NAME        for "cluster": donors' lines, home | fibre (home)
  --weights NAME      for "cluster": whence tabs get what they have not kept, coordinators | tabs | mirror (coordinators)
  --popularity NAME   uniform | zipf: how experts are chosen (uniform, the worst case)
  --uplink-gbit N     the coordinator's line, for shards (10); for "cluster" of each, for laps and shards (1)
  --tokens N          tokens sampled for "still" (200)
  --peers N           peers for "planning" (10000)
  --seed N            (1)
  --json              one JSON document on stdout instead of tables
  --help              print this
`;

const PLANNING_REPEATS = 7;

interface Options {
  models: [string, SimModel][];
  parts: readonly string[];
  tabs: number | undefined;
  donors: number | undefined;
  planner: PlannerName | 'all' | undefined;
  replicas: number;
  streams: number;
  minutes: number;
  popularity: 'uniform' | 'zipf';
  uplinkGbitPerS: number;
  coordinators: number[];
  lines: DonorLines;
  weights: DownloadSource;
  tokens: number;
  peers: number;
  seed: number;
  json: boolean;
}

class UsageError extends Error {}

async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help')) {
    process.stdout.write(HELP);
    return 0;
  }
  const options = parse(argv);
  const results: Record<string, unknown> = {};
  for (const [key, model] of options.models) {
    const tabs = options.tabs ?? justEnoughTabs(model);
    const donors = options.donors ?? Math.max(40, 5 * tabs);
    const result: Record<string, unknown> = {};
    if (options.parts.includes('still')) result.still = printStill(model, tabs, options);
    if (options.parts.includes('churn')) result.churn = await printChurn(model, donors, options);
    if (options.parts.includes('planning')) result.planning = printPlanning(model, options);
    if (options.parts.includes(CLUSTER)) result.cluster = printOfCluster(model, options);
    results[key] = result;
  }
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ seed: options.seed, distributions: DISTRIBUTIONS, results }, null, 2)}\n`);
  }
  return 0;
}

function parse(argv: readonly string[]): Options {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args: [...argv],
    options: {
      model: text,
      part: text,
      tabs: text,
      donors: text,
      planner: text,
      replicas: text,
      streams: text,
      coordinators: text,
      lines: text,
      weights: text,
      minutes: text,
      popularity: text,
      'uplink-gbit': text,
      tokens: text,
      peers: text,
      seed: text,
      json: { type: 'boolean' },
    },
  });
  const number = (name: keyof typeof values, fallback: number, max: number): number => {
    const given = values[name] === undefined ? fallback : Number(values[name]);
    if (Number.isInteger(given) && given >= 1 && given <= max) return given;
    throw new UsageError(`--${name} takes a whole number from 1 to ${max}.`);
  };
  const oneOf = <T extends string>(name: keyof typeof values, fallback: T, known: readonly T[]): T => {
    const given = known.find((value) => value === (values[name] ?? fallback));
    if (given !== undefined) return given;
    throw new UsageError(`--${name} is one of: ${known.join(', ')}.`);
  };
  const modelName = oneOf('model', 'all', [...Object.keys(SIM_MODELS), 'all']);
  const part = oneOf('part', 'all', [...PARTS, 'all', CLUSTER]);
  const isCluster = part === CLUSTER;
  return {
    models: Object.entries(SIM_MODELS).filter(([key]) => modelName === 'all' || key === modelName),
    parts: part === 'all' ? PARTS : [part],
    tabs: values.tabs === undefined ? undefined : number('tabs', 1, 100_000),
    donors: values.donors === undefined ? undefined : number('donors', 1, 100_000),
    planner:
      values.planner === undefined ? undefined : oneOf<PlannerName | 'all'>('planner', 'all', [...PLANNERS, 'all']),
    replicas: number('replicas', 2, 16),
    streams: number('streams', isCluster ? 64 : 8, 1024),
    minutes: number('minutes', 5, 100_000),
    popularity: oneOf('popularity', 'uniform', ['uniform', 'zipf']),
    uplinkGbitPerS: number('uplink-gbit', isCluster ? 1 : 10, 1_000),
    coordinators: coordinatorNumbers(values.coordinators ?? '1,2,4,8'),
    lines: oneOf<DonorLines>('lines', 'home', Object.keys(DONOR_LINES) as DonorLines[]),
    weights: oneOf<DownloadSource>('weights', 'coordinators', DOWNLOAD_SOURCES),
    tokens: number('tokens', 200, 1_000_000),
    peers: number('peers', 10_000, 100_000),
    seed: number('seed', 1, Number.MAX_SAFE_INTEGER),
    json: values.json ?? false,
  };
}

function coordinatorNumbers(given: string): number[] {
  const numbers = given.split(',').map(Number);
  if (numbers.every((one, i) => Number.isInteger(one) && one > (numbers[i - 1] ?? 0) && one <= 64)) return numbers;
  throw new UsageError('--coordinators takes ascending whole numbers from 1 to 64, separated by commas.');
}

function printOfCluster(model: SimModel, options: Options): ClusterResult {
  const { tabs = 10_000, uplinkGbitPerS: lineGbitPerS, weights: source } = options;
  const given: ClusterOptions = { ...options, tabs, lineGbitPerS, source, passes: 2 };
  const result = simulateCluster(model, given);
  if (!options.json) process.stdout.write(printCluster(model, given, result));
  return result;
}

function printStill(model: SimModel, tabs: number, options: Options): StillRow[] {
  const { tokens, seed, popularity } = options;
  const rows = stillRows(model, tabs, { tokens, seed, popularity, batch: 1 });
  if (options.json) return rows;
  const title = `${model.name}, nobody comes or goes: 1-GiB tabs filled to 85 %, 4.5 bits a weight, gate choices ${popularity}`;
  const header = [
    'placement',
    'tabs',
    'copies',
    'peers/token-layer',
    'kB/token',
    '× implied',
    'uncovered',
    'fullest tab',
  ];
  const cells = rows.map((row) => [
    row.planner,
    String(row.tabs),
    String(row.replicas),
    row.distinctPeers.toFixed(3),
    (row.bytesPerToken / 1000).toFixed(0),
    (row.bytesPerToken / row.impliedBytesPerToken).toFixed(4),
    percent(row.uncoveredShare),
    percent(row.fullest),
  ]);
  process.stdout.write(`\n${title}\n${formatTable([header, ...cells])}\n`);
  return rows;
}

async function printChurn(model: SimModel, donors: number, options: Options): Promise<Record<string, ChurnResult>> {
  const { replicas, streams, minutes, popularity, uplinkGbitPerS, seed } = options;
  const results: Record<string, ChurnResult> = {};
  for (const planner of plannersFor(donors, options.planner)) {
    const given = { donors, planner, replicas, streams, minutes, popularity, uplinkGbitPerS, seed };
    results[planner] = await simulateChurn(model, given);
  }
  if (options.json) return results;
  const mean = Object.values(results)[0]!.meanOnline.toFixed(0);
  process.stdout.write(
    `\n${model.name}, ${donors} donors of whom about ${mean} are there, ${replicas} copies, ${streams} streams, ` +
      `${minutes} virtual minutes, seed ${seed}\n${assumptions(uplinkGbitPerS)}\n${churnTable(model, results)}\n`,
  );
  return results;
}

function plannersFor(donors: number, asked: PlannerName | 'all' | undefined): readonly PlannerName[] {
  const all = asked === 'all' || (asked === undefined && donors <= MAX_DONORS_FOR_BASELINES);
  if (all) return PLANNERS;
  return [asked ?? 'shoal'];
}

function churnTable(model: SimModel, results: Record<string, ChurnResult>): string {
  const column = (cell: (result: ChurnResult) => string): string[] => Object.values(results).map(cell);
  const times = (of: (result: ChurnResult) => ChurnResult['lapMs']): string[] =>
    column((r) => [of(r).p50, of(r).p95, of(r).p99].map((ms) => ms.toFixed(0)).join(' '));
  return formatTable([
    ['', ...Object.keys(results)],
    ['tokens/s', ...column((r) => r.tokensPerSecond.toFixed(2))],
    ['laps per token', ...column(() => String(model.numLayers))],
    ['ms per token of a stream, p50 p95 p99', ...times((r) => r.passMs)],
    ['ms per lap, p50 p95 p99', ...times((r) => r.lapMs)],
    ['peers per token-layer', ...column((r) => r.distinctPeers.toFixed(2))],
    ['kB per token', ...column((r) => (r.bytesPerToken / 1000).toFixed(0))],
    ['  × implied by those peers', ...column((r) => (r.bytesPerToken / r.impliedBytesPerToken).toFixed(4))],
    ['uncovered work', ...column((r) => percent(r.uncoveredShare))],
    ['hedged', ...column((r) => percent(r.hedges / r.asks))],
    ['re-dispatches per 1,000 laps', ...column((r) => ((1000 * r.redispatches) / r.laps).toFixed(2))],
    ['joins, leaves, sent away', ...column((r) => [r.joins, r.leaves, r.dismissals].join(', '))],
    ['plans', ...column((r) => String(r.plans))],
    ['  ms each (this machine), p50', ...column((r) => r.planMs.p50.toFixed(1))],
    ['  ms each (this machine), max', ...column((r) => r.planMs.max.toFixed(1))],
    ['GB fetched', ...column((r) => gigabytes(r.fetchedBytes))],
    ['  of these moved for fewer peers or balance', ...column((r) => gigabytes(r.movedBytes))],
    ['GB from donors’ caches', ...column((r) => gigabytes(r.fromCacheBytes))],
  ]);
}

function assumptions(uplinkGbitPerS: number): string {
  const {
    pledgeGiB,
    rttMs,
    rttSigma,
    assignmentsPerSecond,
    lapOverheadMs,
    downloadMbitPerS,
    uploadMbitPerS,
    lossShare,
  } = DISTRIBUTIONS;
  const { visitMinutes, absenceMinutes, silentShare } = DISTRIBUTIONS;
  const pledges = pledgeGiB.map(([gib, share]) => `${gib} GiB ${percent(share)}`).join(', ');
  return (
    `Assumed: pledges ${pledges}; round trip ${rttMs.median} ms, σ ${rttMs.sigma}, from frame to frame σ ${rttSigma}; ` +
    `${assignmentsPerSecond.median} rows/s for 4.3 M weights, σ ${assignmentsPerSecond.sigma}, and ${lapOverheadMs} ms a lap; ` +
    `Mbit/s down ${downloadMbitPerS.median}, up ${uploadMbitPerS.median}, σ ${downloadMbitPerS.sigma} (medians, σ of ln); ` +
    `${percent(lossShare)} of frames resent after ${RETRANSMISSION_MS} ms; visits of ${visitMinutes.mean} min ` +
    `(Weibull, shape ½), away ${absenceMinutes.mean} min; ${percent(silentShare)} leave without a goodbye; ` +
    `uplink ${uplinkGbitPerS} Gbit/s. Tabs compute nothing; self-tests, probation and audits are off`
  );
}

function printPlanning(model: SimModel, options: Options): PlanningTimes[] {
  const rows = planningTimes(model, options.peers, PLANNING_REPEATS);
  if (options.json) return rows;
  const ms = (value: number): string => value.toFixed(1);
  const cells = rows.map((row) => [
    row.peers,
    String(row.experts),
    ms(row.freshMs),
    ms(row.joinMs),
    ms(row.leaveMs),
    ms(row.unchangedMs),
  ]);
  const reference = ['at most', '', '1000', '50', '50', ''];
  process.stdout.write(
    `\n${model.name}, planning two copies: ms on this machine, medians of ${PLANNING_REPEATS}\n` +
      `${formatTable([['peers', 'experts', 'fresh', 'one joins', 'one leaves', 'unchanged'], ...cells, reference])}\n`,
  );
  return rows;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const usage = error instanceof UsageError || (error instanceof TypeError && 'code' in error);
  if (!usage) throw error;
  process.stderr.write(`simulate: ${(error as Error).message}\n\n${HELP}`);
  process.exitCode = 2;
}
