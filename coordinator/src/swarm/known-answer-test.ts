import { randomBytes } from 'node:crypto';
import { createRng, decodeF16, type WorkItem, uniformWorkItem } from '@shoal/model';
import { type RowFormat, roundRows } from '@shoal/protocol';
import type { LapClient } from '../laps/lap-client.ts';
import type { Bounds } from '../trust/compare.ts';
import type { Judge } from '../trust/judge.ts';

/** Experts of one layer tested in one lap: one row each. */
const EXPERTS_PER_LAP = 64;
/** A first lap compiles nothing (pipelines are ready) but may wait for a busy GPU. */
const TEST_LAP_DEADLINE_MS = 30_000;

export interface KnownAnswerResult {
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
export async function knownAnswerTest(
  laps: Pick<LapClient, 'ask'>,
  judge: Judge,
  experts: readonly ExpertRef[],
  hiddenSize: number,
  bounds: Bounds,
): Promise<KnownAnswerResult> {
  const result = { tested: 0, matched: 0 };
  // Unpredictable, so that answers cannot be prepared.
  const rng = createRng(randomBytes(4).readUInt32LE());
  for (const group of byLayer(experts)) {
    const request = testLap(group, hiddenSize, bounds.rowFormat, rng);
    const answer = await laps.ask(request, { deadlineMs: TEST_LAP_DEADLINE_MS });
    const verdicts = await judge.rows(request, decodeF16(answer.partial), bounds);
    result.tested += verdicts.length;
    result.matched += verdicts.filter((verdict) => verdict !== 'wrong').length;
  }
  return result;
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

function testLap(group: readonly ExpertRef[], hiddenSize: number, rowFormat: RowFormat, rng: () => number): WorkItem {
  // Sums of uniforms are near enough to the unit-variance rows that RMSNorm makes.
  const x = Float32Array.from({ length: group.length * hiddenSize }, () => (rng() + rng() + rng() - 1.5) * 2);
  return uniformWorkItem({
    layer: group[0]!.layer,
    rows: roundRows(rowFormat, x, hiddenSize),
    numRows: group.length,
    experts: Uint16Array.from(group, (ref) => ref.expert),
    weights: new Float32Array(group.length).fill(1),
  });
}
