import { createRng, decodeF16, type MoeCall, type Rng, type WorkItem } from '@shoal/model';
import { decodeDispatch, encodeCombine, encodeRefuse, peekFrame } from '@shoal/protocol';
import type { Link } from '@shoal/transport';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Dispatcher } from './dispatcher.ts';
import type { LapPeer } from './lap-splitter.ts';
import { LapClient } from './lap-client.ts';
import type { LocalCompute } from '../local-experts/local-compute.ts';

const [HIDDEN, EXPERTS, TOP_K, PEERS] = [2, 6, 3, 4];

/**
 * A row is its mark. Expert e returns (4^e, mark), so that a sum shows how often each expert is in it, up to three
 * times, and that it computed this row. Exact in f16: three powers of four of these span eleven bits.
 */
function compute({ numRows, rowEnd, experts, rows }: Omit<WorkItem, 'layer' | 'weights'>): Float32Array {
  const marks = decodeF16(rows);
  const partial = new Float32Array(numRows * HIDDEN);
  for (let row = 0, a = 0; row < numRows; row++) {
    for (; a < rowEnd[row]!; a++) {
      partial[row * HIDDEN]! += 4 ** experts[a]!;
      partial[row * HIDDEN + 1]! += marks[row * HIDDEN]!;
    }
  }
  return partial;
}

/** What became of frames, over all seeds. */
const seen = { lost: 0, late: 0, repeated: 0, refused: 0, cancels: 0 };

/** The other end computes correctly; its frames are lost, late or repeated depending on the seed. */
class UnreliableLink implements Link {
  readonly state = 'open';
  onFrame: Link['onFrame'];
  onClose: Link['onClose'];
  readonly #rng: Rng;
  #received = 0;

  constructor(rng: Rng) {
    this.#rng = rng;
  }

  async send(bytes: Uint8Array): Promise<void> {
    const { type, lapId } = peekFrame(bytes);
    if (type === 'cancel') {
      seen.cancels++;
      return;
    }
    const { numRows, ...lap } = decodeDispatch(bytes, { hiddenSize: HIDDEN });
    const fate = this.#rng();
    if (fate < 0.06) {
      seen.lost++;
      return;
    }
    if (fate < 0.1) {
      seen.refused++;
      return this.#arrive(encodeRefuse({ lapId, reason: fate < 0.08 ? 'busy' : 'failed' }));
    }
    const partial = compute({ ...lap, numRows });
    const frame = encodeCombine({ lapId, numRows, hiddenSize: HIDDEN, queueUs: 0, computeUs: 0, partial });
    if (fate < 0.2) seen.late++;
    this.#arrive(frame, fate < 0.2 ? 400 + this.#rng() * 20_000 : 1 + this.#rng() * 20);
    while (this.#rng() < 0.2) {
      seen.repeated++;
      this.#arrive(frame, this.#rng() * 3_000);
    }
  }

  #arrive(frame: Uint8Array, afterMs = 1): void {
    setTimeout(() => {
      this.#received += frame.length;
      this.onFrame?.(frame.slice());
    }, afterMs);
  }

  close(): void {}

  stats() {
    return { bytesSent: 0, bytesReceived: this.#received, framesSent: 0, framesReceived: 0, rttMs: undefined, lost: 0 };
  }
}

function unreliablePeer(peerId: string, rng: Rng): LapPeer {
  const link = new UnreliableLink(rng);
  const onHostile = (message: string): void => {
    throw new Error(`${peerId} was taken for hostile: ${message}`);
  };
  const laps = new LapClient({ link, hiddenSize: HIDDEN, epoch: () => 1, onHostile });
  link.onFrame = (frame) => laps.receive(frame);
  const served = new Set(Array.from({ length: EXPERTS }, (_, e) => e).filter(() => rng() < 0.6));
  return {
    peerId,
    laps,
    serves: (_, expert) => served.has(expert),
    helped: () => {},
    accepts: () => true,
    rowsAhead: Number.POSITIVE_INFINITY,
    believed: true,
  };
}

function someCall(rng: Rng): { call: MoeCall; expected: number[] } {
  const numRows = 1 + Math.floor(rng() * 6);
  const expected: number[] = [];
  const x = new Float32Array(numRows * HIDDEN);
  const chosen: number[] = [];
  for (let row = 0; row < numRows; row++) {
    const experts = Array.from({ length: EXPERTS }, (_, e) => e)
      .toSorted(() => rng() - 0.5)
      .slice(0, TOP_K);
    x[row * HIDDEN] = 1 + Math.floor(rng() * 100);
    chosen.push(...experts);
    expected.push(
      experts.reduce((sum, e) => sum + 4 ** e, 0),
      TOP_K * x[row * HIDDEN]!,
    );
  }
  const topkWeights = new Float32Array(chosen.length).fill(1);
  return { call: { layer: 1, numRows, x, topkIdx: Int32Array.from(chosen), topkWeights }, expected };
}

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate', 'performance'],
  });
});

afterEach(() => {
  vi.useRealTimers();
});

it('has each expert of each row in the sum once, whatever comes late, twice or never', async () => {
  const totals = { redispatches: 0, hedges: 0, local: 0, lateAnswers: 0, laps: 0 };
  for (let seed = 1; seed <= 30; seed++) {
    const rng = createRng(seed);
    const peers = Array.from({ length: PEERS }, (_, i) => unreliablePeer(`tab-${i}`, rng));
    const dispatcher = new Dispatcher({
      hiddenSize: HIDDEN,
      nRoutedExperts: EXPERTS,
      numExpertsPerTok: TOP_K,
      local: { compute: async (item: WorkItem) => compute(item) } as unknown as LocalCompute,
      peers: () => peers,
    });
    const one = async (): Promise<void> => {
      for (let i = 0; i < 25; i++) {
        const { call, expected } = someCall(rng);
        const sum = await dispatcher.batch().dispatch(call).combine();
        expect({ seed, sum: [...sum] }).toEqual({ seed, sum: expected });
      }
    };
    const progress = { ended: false };
    const all = Promise.all([one(), one(), one()]).finally(() => (progress.ended = true));
    all.catch(() => {});
    while (!progress.ended) await vi.advanceTimersByTimeAsync(50);
    await all;
    await vi.advanceTimersByTimeAsync(30_000);
    totals.redispatches += dispatcher.figures.redispatches;
    totals.hedges += dispatcher.figures.hedges;
    totals.local += dispatcher.figures.fallbackAssignments;
    totals.laps += dispatcher.figures.laps;
    for (const { laps } of peers) totals.lateAnswers += laps.lateAnswers;
  }
  // All of it occurred.
  expect(totals.laps).toBe(30 * 75);
  for (const count of [...Object.values(totals), ...Object.values(seen)]) expect(count).toBeGreaterThan(30);
});
