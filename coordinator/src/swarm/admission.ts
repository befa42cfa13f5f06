import { randomBytes } from 'node:crypto';
import { createRng, decodeF16, encodeF16 } from '@shoal/model';
import type { LapClient, LapRequest } from '../dispatch/lap-client.ts';
import type { LocalWork } from '../dispatch/local-work.ts';

/** Experts of one layer tested in one lap: one row each. */
const EXPERTS_PER_LAP = 64;
/** A first lap compiles nothing (pipelines are ready) but may wait for a busy GPU. */
const SELF_TEST_LAP_DEADLINE_MS = 30_000;
/**
 * Largest relative L2 distance of an expert's output that passes. f16 on the wire costs 4e-4, f16 accumulation 3e-3; wrong
 * weights at int8 start at 9e-3 (measured, ARCHITECTURE.md). Ours accumulate in f32, so half of that is generous.
 */
export const MAX_RELATIVE_L2 = 5e-3;

export interface SelfTestResult {
  tested: number;
  matched: number;
}

export interface ExpertRef {
  layer: number;
  expert: number;
}

/**
 * The known-answer test: every expert that a peer has loaded is given a random row over the real lap path, and its answer
 * is compared with the coordinator's own from the same packed weights. Rejects with a LapError if the peer doesn't answer.
 */
export async function selfTest(
  laps: LapClient,
  local: LocalWork,
  experts: readonly ExpertRef[],
  hiddenSize: number,
): Promise<SelfTestResult> {
  const result = { tested: 0, matched: 0 };
  // Unpredictable, so that answers cannot be prepared.
  const rng = createRng(randomBytes(4).readUInt32LE());
  for (const group of byLayer(experts)) {
    const request = testLap(group, hiddenSize, rng);
    const [answer, expected] = await Promise.all([
      laps.ask(request, { deadlineMs: SELF_TEST_LAP_DEADLINE_MS }),
      local.compute(request),
    ]);
    const partial = decodeF16(answer.partial);
    for (let row = 0; row < request.numRows; row++) {
      const [from, to] = [row * hiddenSize, (row + 1) * hiddenSize];
      result.tested++;
      if (relativeL2(partial.subarray(from, to), expected.subarray(from, to)) <= MAX_RELATIVE_L2) result.matched++;
    }
  }
  return result;
}

/** ‖a − b‖ / ‖b‖; a NaN in `a` gives NaN, which compares as too far. */
export function relativeL2(a: Float32Array, b: Float32Array): number {
  let distance = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    distance += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return norm === 0 ? (distance === 0 ? 0 : Number.POSITIVE_INFINITY) : Math.sqrt(distance / norm);
}

function byLayer(experts: readonly ExpertRef[]): ExpertRef[][] {
  const groups: ExpertRef[][] = [];
  const open = new Map<number, ExpertRef[]>();
  for (const ref of experts) {
    let group = open.get(ref.layer);
    if (group === undefined || group.length === EXPERTS_PER_LAP) {
      group = [];
      groups.push(group);
      open.set(ref.layer, group);
    }
    group.push(ref);
  }
  return groups;
}

function testLap(group: readonly ExpertRef[], hiddenSize: number, rng: () => number): LapRequest {
  // Sums of uniforms are near enough to the unit-variance rows that RMSNorm makes.
  const x = Float32Array.from({ length: group.length * hiddenSize }, () => (rng() + rng() + rng() - 1.5) * 2);
  return {
    layer: group[0]!.layer,
    rows: encodeF16(x),
    numRows: group.length,
    rowEnd: Uint16Array.from(group, (_, i) => i + 1),
    experts: Uint16Array.from(group, (ref) => ref.expert),
    weights: new Float32Array(group.length).fill(1),
  };
}
