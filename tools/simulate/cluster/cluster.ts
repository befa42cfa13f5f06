import { createRng } from '@shoal/model';
import { formatTable } from '../../../test/bench/table.ts';
import { logNormal } from '../random.ts';
import type { Popularity } from '../gate-choices.ts';
import type { SimModel } from '../models.ts';
import { simulateLaps, type LapsResult } from './laps.ts';
import { PLAN_EVERY_MS, type Population, RETURNING_SHARE, simulatePopulation } from './population.ts';

/** Lines of donors: as in the simulation of churn, or as they are where all have fibre. Both are assumptions. */
export const DONOR_LINES = {
  home: undefined,
  fibre: { rttMs: { median: 10, sigma: 0.3 }, mbitPerS: { median: 500, sigma: 0.3 } },
} as const;
export type DonorLines = keyof typeof DONOR_LINES;

/** Where tabs get what their browsers have not kept. */
export const DOWNLOAD_SOURCES = ['coordinators', 'tabs', 'mirror'] as const;
export type DownloadSource = (typeof DOWNLOAD_SOURCES)[number];

/** Laps need some of a line, however many tabs download. */
const MOST_DOWNLOADS = 0.9;
/** Scaling below this share of the ideal is the knee. */
const KNEE = 0.9;

export interface ClusterOptions {
  tabs: number;
  replicas: number;
  /** Numbers of coordinators, ascending. */
  coordinators: readonly number[];
  streams: number;
  lineGbitPerS: number;
  minutes: number;
  lines: DonorLines;
  source: DownloadSource;
  popularity: Popularity;
  passes: number;
  seed: number;
}

export interface ClusterResult {
  population: Omit<Population, 'tabs'> & { tabs: number; holding: number };
  /** Bytes each second that the coordinators send as weights, by where tabs get them. */
  downloadBytesPerS: Record<DownloadSource, number>;
  rows: (LapsResult & { coordinators: number; downloadsShare: number; scaling: number })[];
  /** The first number of coordinators that scales badly; undefined if all scale. */
  knee: number | undefined;
}

/** What several coordinators make of one swarm. */
export function simulateCluster(model: SimModel, options: ClusterOptions): ClusterResult {
  const { minutes, lineGbitPerS, source } = options;
  const rng = createRng(options.seed);
  const population = withLines(simulatePopulation(model, { ...options, rng }), options.lines, options.seed);
  const { heldElsewhere, heldNowhere } = population.loaded;
  const perSecond = (bytes: number): number => bytes / (60 * minutes);
  const downloadBytesPerS = {
    coordinators: perSecond(heldElsewhere + heldNowhere),
    tabs: perSecond(heldNowhere),
    mirror: 0,
  };
  const lineBytesPerS = (lineGbitPerS * 1e9) / 8;
  const rows: ClusterResult['rows'] = [];
  for (const coordinators of options.coordinators) {
    const downloadsShare = Math.min(MOST_DOWNLOADS, downloadBytesPerS[source] / (coordinators * lineBytesPerS));
    const laps = simulateLaps(model, population, { ...options, coordinators, downloadsShare });
    const first = rows[0];
    const ideal = first ? (first.tokensPerSecond * coordinators) / first.coordinators : laps.tokensPerSecond;
    rows.push({ ...laps, coordinators, downloadsShare, scaling: laps.tokensPerSecond / ideal });
  }
  const { tabs, ...rest } = population;
  return {
    population: { ...rest, tabs: tabs.length, holding: tabs.filter(({ held }) => held.length > 0).length },
    downloadBytesPerS,
    rows,
    knee: rows.find(({ scaling }) => scaling < KNEE)?.coordinators,
  };
}

function withLines(population: Population, lines: DonorLines, seed: number): Population {
  const given = DONOR_LINES[lines];
  if (given === undefined) return population;
  const rng = createRng(seed + 2);
  const tabs = population.tabs.map(({ donor, held }) => {
    const bytesPerMs = (logNormal(rng, given.mbitPerS) * 1e6) / 8000;
    const line = { rttMs: logNormal(rng, given.rttMs), downloadBytesPerMs: bytesPerMs, uploadBytesPerMs: bytesPerMs };
    return { donor: { ...donor, ...line }, held };
  });
  return { ...population, tabs };
}

export function printCluster(
  model: SimModel,
  options: ClusterOptions,
  { population, ...result }: ClusterResult,
): string {
  const { replicas, streams, lineGbitPerS, minutes, lines, source, seed } = options;
  const lineBytesPerS = (lineGbitPerS * 1e9) / 8;
  const title =
    `${model.name}, ${population.tabs} tabs of which ${population.holding} hold experts (${replicas} copies), ` +
    `${streams} streams and ${lineGbitPerS} Gbit/s each coordinator, donors' lines: ${lines}, seed ${seed}`;
  const cells = result.rows.map((row) => [
    String(row.coordinators),
    row.tokensPerSecond.toFixed(1),
    row.scaling.toFixed(2),
    (row.passMs / 1000).toFixed(1),
    ...[row.busy.coordinatorUp * (1 - row.downloadsShare) + row.downloadsShare, row.downloadsShare].map(percent),
    ...[
      row.busy.coordinatorDown,
      row.busy.tabDown,
      row.busy.tabGpu,
      row.busy.tabUp,
      row.busiestTabs,
      row.busiestTab,
    ].map(percent),
    percent(row.uncoveredShare),
  ]);
  const header = [
    'coordinators',
    'tokens/s',
    'of ideal',
    's/token of a stream',
    'line up',
    'of it weights',
    'line down',
    'tabs down',
    'tabs GPU',
    'tabs up',
    'busiest tenth',
    'busiest tab',
    'uncovered',
  ];
  const { fromCache, heldElsewhere, heldNowhere } = population.loaded;
  const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(1);
  const sources = DOWNLOAD_SOURCES.map((name) => {
    const rate = result.downloadBytesPerS[name];
    return [`weights from ${name}`, (rate / 1e6).toFixed(1), percent(rate / lineBytesPerS)];
  });
  const knee =
    result.knee === undefined
      ? `No knee: every number of coordinators gives ${percent(KNEE)} of the ideal or more.`
      : `The knee is at ${result.knee} coordinators.`;
  return [
    '',
    title,
    `Weights come from: ${source}. ${population.joins} joins and ${population.leaves} departures in ${minutes} virtual minutes; ` +
      `loaded meanwhile: ${gigabytes(fromCache)} GB from browsers' own storage, ${gigabytes(heldElsewhere)} GB that another tab holds, ` +
      `${gigabytes(heldNowhere)} GB that none holds. ${percent(RETURNING_SHARE)} of those who come were here before; ` +
      `a plan every ${PLAN_EVERY_MS / 1000} s, the slowest took ${population.slowestPlanMs.toFixed(0)} ms on this machine.`,
    formatTable([header, ...cells]),
    knee,
    formatTable([['', 'MB/s of coordinators', 'of one line'], ...sources]),
    '',
  ].join('\n');
}

function percent(share: number): string {
  return `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}
