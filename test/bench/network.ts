import { cpus } from 'node:os';
import { type Coordinator } from '../../coordinator/src/index.ts';
import { DonorBrowser } from '../../tools/browser/donor-tabs.ts';
import { answer } from '../integration/answers.ts';
import { GOLDEN } from '../integration/golden.ts';
import { covered, until } from '../integration/virtual-donor.ts';
import { formatTable, median } from './table.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';

const TAB_COUNTS = [0, 1, 2, 4];
const STREAM_COUNTS = [1, 4, 8];
const TOKENS_PER_STREAM = 48;
const PLEDGE_MIB = 128;
const JOIN_TIMEOUT_MS = 180_000;

interface Measurement {
  tabs: number;
  streams: number;
  tokensPerSecond: number;
  /** Against the coordinator alone with as many streams, in the same run. */
  ratioToAlone: number;
  /** Medians of this measurement's laps; null without tabs. */
  lapMs: { lap: number; queue: number; wire: number; compute: number } | null;
  /** Lap frames both ways per row through all laps, and their ratio to laps × 2 × hidden × 2 B; null without tabs. */
  bytesPerToken: number | null;
  bytesToFloor: number | null;
  lapsPerToken: number;
  tabShare: number;
}

/** Each figure with its reference beside it, all taken in one run on one machine. */
export async function benchNetwork(options: { repeats: number; json: boolean }): Promise<void> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const browser = await DonorBrowser.launch(say);
  const results: Measurement[] = [];
  try {
    for (const tabs of TAB_COUNTS) {
      const coordinator = await start();
      const contexts = await Promise.all(
        Array.from({ length: tabs }, async () => (await browser.open(coordinator.url, PLEDGE_MIB)).context),
      );
      const ready = (): boolean => coordinator.swarm.peers.length === tabs && covered(coordinator);
      if (tabs > 0) await until(`${tabs} tabs to serve`, ready, JOIN_TIMEOUT_MS);
      // The first answer fills caches and lets the compilers finish; it is not counted.
      await decode(coordinator, 2);
      for (const streams of STREAM_COUNTS) {
        say(`measuring ${tabs} tabs, ${streams} streams`);
        results.push(await measure(coordinator, tabs, streams, options.repeats, results));
      }
      for (const context of contexts) await context.close();
      await coordinator.close();
    }
  } finally {
    await browser.close();
  }
  if (options.json) process.stdout.write(`${JSON.stringify({ cores: cpus().length, results }, null, 2)}\n`);
  else print(results, options.repeats);
}

function start(): Promise<Coordinator> {
  return startTinyCoordinator();
}

async function decode(coordinator: Coordinator, streams: number): Promise<number> {
  const prompts = Array.from({ length: streams }, (_, i) => GOLDEN[i % GOLDEN.length]!.prompt_ids);
  const options = { temperature: 0.8, maxTokens: TOKENS_PER_STREAM };
  const startedMs = performance.now();
  const answers = await Promise.all(prompts.map((prompt, i) => answer(coordinator, prompt, { ...options, seed: i })));
  const tokens = answers.reduce((sum, { ids }) => sum + ids.length, 0);
  return tokens / ((performance.now() - startedMs) / 1000);
}

async function measure(
  coordinator: Coordinator,
  tabs: number,
  streams: number,
  repeats: number,
  before: readonly Measurement[],
): Promise<Measurement> {
  const { dispatcher, engine } = coordinator;
  const at = { ...counters(coordinator) };
  dispatcher.forgetTimings();
  const rates: number[] = [];
  for (let i = 0; i < repeats; i++) rates.push(await decode(coordinator, streams));
  const now = counters(coordinator);
  const floor = coordinator.snapshots.build().flow.floorBytesPerToken;
  const laps = coordinator.swarm.model.layers.length;
  const tabRows = now.tabRows - at.tabRows;
  const bytesPerToken = tabRows === 0 ? null : ((now.frameBytes - at.frameBytes) / tabRows) * laps;
  const work = now.tabs + now.local - at.tabs - at.local;
  const tokensPerSecond = median(rates);
  const alone = before.find((other) => other.tabs === 0 && other.streams === streams);
  const lap = dispatcher.lapMs.quantile(0.5);
  return {
    tabs,
    streams,
    tokensPerSecond,
    ratioToAlone: alone ? tokensPerSecond / alone.tokensPerSecond : 1,
    lapMs:
      lap === null
        ? null
        : {
            lap,
            queue: dispatcher.queueMs.quantile(0.5)!,
            wire: dispatcher.wireMs.quantile(0.5)!,
            compute: dispatcher.computeMs.quantile(0.5)!,
          },
    bytesPerToken,
    bytesToFloor: bytesPerToken === null ? null : bytesPerToken / floor,
    lapsPerToken: (now.laps - at.laps) / (engine.passes - at.passes),
    tabShare: work === 0 ? 0 : (now.tabs - at.tabs) / work,
  };
}

function counters({ dispatcher, engine }: Coordinator) {
  return {
    tabRows: dispatcher.tabRows,
    frameBytes: dispatcher.frameBytes,
    laps: dispatcher.laps,
    tabs: dispatcher.tabAssignments,
    local: dispatcher.localAssignments,
    passes: engine.passes,
  };
}

function print(results: readonly Measurement[], repeats: number): void {
  const ms = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(2));
  const rows = results.map((result) => [
    `${result.tabs} tabs, ${result.streams} ${result.streams === 1 ? 'stream' : 'streams'}`,
    result.tokensPerSecond.toFixed(1),
    `${result.ratioToAlone.toFixed(2)} ×`,
    ms(result.lapMs?.lap),
    ms(result.lapMs?.queue),
    ms(result.lapMs?.wire),
    ms(result.lapMs?.compute),
    result.lapsPerToken.toFixed(2),
    result.bytesPerToken === null ? '–' : result.bytesPerToken.toFixed(0),
    result.bytesToFloor === null ? '–' : `${result.bytesToFloor.toFixed(3)} ×`,
    `${(100 * result.tabShare).toFixed(1)} %`,
  ]);
  const head = [
    '',
    'tokens/s',
    'to alone',
    'lap ms',
    'queue',
    'wire',
    'compute',
    'laps/token',
    'B/token',
    'to floor',
    'by tabs',
  ];
  process.stdout.write(`${formatTable([head, ...rows])}\n\n`);
  process.stdout.write(
    `Medians of ${repeats} × ${TOKENS_PER_STREAM} tokens a stream on ${cpus().length} cores, tabs and coordinator on the same machine.\n` +
      'to alone: the coordinator computing every expert itself, same streams, same run. ' +
      'to floor: laps × 2 × hidden × 2 B. A lap = queue (in the tab) + wire (all between) + compute (in the tab).\n',
  );
}
