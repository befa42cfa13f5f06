import { createReferenceBackend, type ExpertBackend, type ExpertOutput } from '@shoal/kernels';
import type { WorkItem } from '@shoal/model';
import { combineLayouts, peekFrame } from '@shoal/protocol';

/** A dishonest tab's answers (issue 3). The peer's own code cannot encode `NaN`, so its frames are changed. */
const LIES = [
  'scaled by 1.01',
  'one expert swapped',
  'noise of 1e-2',
  'stale answer',
  'NaN',
  'zeros',
  "another's weights",
] as const;
export type Lie = (typeof LIES)[number];

/** The eighth kind is each of the others, begun only when the tab serves. */
export interface Liar {
  lie: Lie;
  begins: 'from the start' | 'once it serves';
}

/** The n-th liar of a run: every kind, in turn from the start and once trusted. */
export function nthLiar(n: number): Liar {
  const begins = n % 2 === 0 ? 'once it serves' : 'from the start';
  return { lie: LIES[Math.floor(n / 2) % LIES.length]!, begins };
}

/** A backend that answers with a lie while `isLying()`. Loads what it is given, so that it can be honest before. */
export function lyingBackend(honest: ExpertBackend, lie: Lie, random: () => number, isLying: () => boolean) {
  const another = createReferenceBackend(honest.shape);
  let lastShard: Uint8Array | undefined;
  let lastRow: Float32Array | undefined;
  const swap = new SwappedExpert();
  const answers: Record<Lie, (lap: WorkItem, right: Float32Array) => Float32Array | Promise<Float32Array>> = {
    'scaled by 1.01': (_, right) => right.map((value) => value * 1.01),
    'one expert swapped': async (lap) => (await honest.run(swap.of(lap))).partial,
    'noise of 1e-2': (lap, right) => noisy(right, lap.numRows, random),
    'stale answer': (_, right) => right.map((_, i) => (lastRow ? lastRow[i % lastRow.length]! : 0)),
    NaN: (_, right) => right,
    zeros: (_, right) => new Float32Array(right.length),
    "another's weights": async (lap) => (await another.run(lap)).partial,
  };
  return new Proxy(honest, {
    get(target, name) {
      if (name === 'load') {
        return async (layer: number, expert: number, shard: Uint8Array): Promise<void> => {
          swap.held(layer, expert);
          await target.load(layer, expert, shard);
          const shardOfAnother = lastShard ?? shard.slice();
          lastShard = shard.slice();
          await another.load(layer, expert, shardOfAnother);
        };
      }
      if (name === 'run') {
        return async (lap: WorkItem): Promise<ExpertOutput> => {
          const output = await target.run(lap);
          const partial = isLying() ? await answers[lie](lap, output.partial) : output.partial;
          lastRow = output.partial.slice(-honest.shape.hiddenSize);
          return { ...output, partial };
        };
      }
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Swaps the first two loaded experts of each layer. */
class SwappedExpert {
  readonly #pairs = new Map<number, number[]>();

  held(layer: number, expert: number): void {
    const pair = this.#pairs.get(layer) ?? [];
    this.#pairs.set(layer, pair);
    if (pair.length < 2 && !pair.includes(expert)) pair.push(expert);
  }

  of(lap: WorkItem): WorkItem {
    const [a, b] = this.#pairs.get(lap.layer) ?? [];
    if (b === undefined) return lap;
    return { ...lap, experts: lap.experts.map((expert) => (expert === a ? b : expert === b ? a! : expert)) };
  }
}

/** Moves each row by 1 % of its norm. */
function noisy(right: Float32Array, numRows: number, random: () => number): Float32Array {
  const hiddenSize = right.length / numRows;
  const out = right.slice();
  for (let row = 0; row < numRows; row++) {
    const noise = Float32Array.from({ length: hiddenSize }, () => random() + random() + random() - 1.5);
    const factor = (0.01 * norm(right.subarray(row * hiddenSize, (row + 1) * hiddenSize))) / norm(noise);
    for (let d = 0; d < hiddenSize; d++) out[row * hiddenSize + d]! += noise[d]! * factor;
  }
  return out;
}

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

const F16_NAN = 0x7e00;

/** For `NaN`, which the peer's own code would refuse to send. */
export function tamperedFrame(frame: Uint8Array, lie: Lie): Uint8Array {
  if (lie !== 'NaN' || peekFrame(frame).type !== 'combine') return frame;
  const changed = frame.slice();
  new Uint16Array(changed.buffer, combineLayouts.f16.headerBytes).fill(F16_NAN);
  return changed;
}
