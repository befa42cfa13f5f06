import { createRng, type MoeCall, type Rng } from '@shoal/model';
import { ExpertRunner, type LapBackend } from '@shoal/peer';
import { Dispatcher } from '../../coordinator/src/laps/dispatcher.ts';
import { LapClient } from '../../coordinator/src/laps/lap-client.ts';
import type { LapPeer } from '../../coordinator/src/laps/lap-splitter.ts';
import { VirtualBackend } from '../../tools/simulate/virtual-backend.ts';
import { VirtualClock } from '../../tools/simulate/virtual-clock.ts';
import { type Line, virtualLinkPair } from '../../tools/simulate/virtual-link.ts';
import { type Quantiles, quantilesOf } from './statistics.ts';
import { formatTable } from './table.ts';

const HIDDEN_SIZE = 2048;
const TOP_K = 6;
const REPLICAS = 2;
/** Laps per side and round; the first ones are not measured: hedging begins once a peer has answered 20. */
const LAPS = 1_000;
const WARM_UP_LAPS = 60;
const ROUNDS = 20;

/** A home line (tools/simulate/donors.ts) that loses no frames. */
const LINE: Line = { rttMs: 40, rttSigma: 0.1, downloadBytesPerMs: 6_250, uploadBytesPerMs: 1_250, lossShare: 0 };

interface Condition {
  name: string;
  line: Line;
  /** Share of laps that the tab delays, and for how long: garbage collection, or another tab on its GPU. */
  spikes: { share: number; ms: number };
}

const CONDITIONS: readonly Condition[] = [
  { name: 'steady', line: LINE, spikes: { share: 0, ms: 0 } },
  { name: '2 % +200 ms', line: LINE, spikes: { share: 0.02, ms: 200 } },
  { name: '5 % +200 ms', line: LINE, spikes: { share: 0.05, ms: 200 } },
  { name: '10 % +200 ms', line: LINE, spikes: { share: 0.1, ms: 200 } },
  { name: '1 % of frames lost', line: { ...LINE, lossShare: 0.01 }, spikes: { share: 0, ms: 0 } },
];

interface Side {
  lapMs: number[];
  asks: number;
  hedges: number;
}

/**
 * Measures lap times with and without hedging in virtual time: the production dispatcher, lap clients and runners,
 * over simulated lines and GPUs. Both sides of a round draw the same numbers.
 */
export async function benchHedges({ json }: { json: boolean }): Promise<void> {
  const results = [];
  for (const { name, ...condition } of CONDITIONS) {
    const on: Side = { lapMs: [], asks: 0, hedges: 0 };
    const off: Side = { lapMs: [], asks: 0, hedges: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      await runLaps(condition, round, true, on);
      await runLaps(condition, round, false, off);
    }
    results.push({
      line: name,
      off: quantilesOf(off.lapMs),
      on: quantilesOf(on.lapMs),
      extra: on.hedges / on.asks,
      both: quantilesOf(fasterOfTwo(off.lapMs)),
    });
  }
  if (json) {
    process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
    return;
  }
  const cell = ({ p50, p95, p99 }: Quantiles): string => [p50, p95, p99].map((ms) => ms.toFixed(0)).join(', ');
  const rows = results.map(({ line, off, on, extra, both }) => [
    line,
    cell(off),
    cell(on),
    `${(100 * extra).toFixed(1)} %`,
    cell(both),
  ]);
  const head = ['lap ms, p50 p95 p99', 'not hedged', 'hedged', 'more work', 'reference: both replicas always, 100 %'];
  process.stdout.write(`${formatTable([head, ...rows])}\n`);
}

async function runLaps(
  { line, spikes }: Omit<Condition, 'name'>,
  seed: number,
  hedged: boolean,
  side: Side,
): Promise<void> {
  const clock = new VirtualClock();
  const peers = Array.from({ length: REPLICAS }, (_, i) => {
    const rng = createRng(1 + REPLICAS * seed + i);
    return peerOn(clock, line, spiking(clock, spikes, rng), rng, { peerId: `tab-${i}`, hedged });
  });
  const dispatcher = new Dispatcher({
    hiddenSize: HIDDEN_SIZE,
    nRoutedExperts: TOP_K,
    numExpertsPerTok: TOP_K,
    // Computes what both replicas have missed.
    local: { compute: async ({ numRows }) => new Float32Array(numRows * HIDDEN_SIZE) },
    peers: () => peers,
    clock,
  });
  let done = false;
  const laps = (async () => {
    for (let lap = 0; lap < WARM_UP_LAPS + LAPS; lap++) {
      const startedMs = clock.now();
      await dispatcher.batch().dispatch(oneRow()).combine();
      if (lap >= WARM_UP_LAPS) side.lapMs.push(clock.now() - startedMs);
    }
    done = true;
  })();
  const isDone = (): boolean => done;
  while (!isDone()) await Promise.race([laps, clock.runUntil(clock.now() + 1000)]);
  side.asks += dispatcher.figures.asks;
  side.hedges += dispatcher.figures.hedges;
}

/** A lap client that never hedges. */
class UnhedgedClient extends LapClient {
  override hedgeAfterMs(): number {
    return Number.POSITIVE_INFINITY;
  }
}

function peerOn(
  clock: VirtualClock,
  line: Line,
  backend: LapBackend,
  rng: Rng,
  { peerId, hedged }: { peerId: string; hedged: boolean },
): LapPeer {
  const { near, far } = virtualLinkPair(clock, line, rng);
  const runner = new ExpertRunner({ holds: () => true, onLinkClosed: () => {}, now: () => clock.now() });
  runner.setBackend(backend);
  runner.attach(far);
  const onHostile = (message: string): never => {
    throw new Error(message);
  };
  const options = { link: near, hiddenSize: HIDDEN_SIZE, epoch: () => 0, onHostile, clock };
  const laps = hedged ? new LapClient(options) : new UnhedgedClient(options);
  near.onFrame = (frame) => laps.receive(frame);
  const rowsAhead = Number.POSITIVE_INFINITY;
  return { peerId, laps, rowsAhead, serves: () => true, helped: () => {}, accepts: () => true, believed: true };
}

function spiking(clock: VirtualClock, { share, ms }: Condition['spikes'], rng: Rng): LapBackend {
  const backend = new VirtualBackend(
    clock,
    { assignmentsPerSecond: 4_000, lapOverheadMs: 2 },
    { hiddenSize: HIDDEN_SIZE },
  );
  return {
    shape: backend.shape,
    run: async (item) => {
      if (rng() < share) await clock.sleep(ms);
      return backend.run(item);
    },
  };
}

function oneRow(): MoeCall {
  return {
    layer: 1,
    numRows: 1,
    x: new Float32Array(HIDDEN_SIZE).fill(1),
    topkIdx: Int32Array.from({ length: TOP_K }, (_, i) => i),
    topkWeights: new Float32Array(TOP_K).fill(1 / TOP_K),
  };
}

/** What asking both replicas at once would give: the faster of each two laps. */
function fasterOfTwo(lapMs: readonly number[]): number[] {
  return lapMs.map((ms, i) => Math.min(ms, lapMs[(i + 1) % lapMs.length]!));
}
