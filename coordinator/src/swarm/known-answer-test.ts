import { randomBytes } from 'node:crypto';
import { createRng, type ExpertAdapter, ItemAdaptersBuilder, uniformWorkItem, type WorkItem } from '@shoal/model';
import { itemRows, type RowFormat } from '@shoal/protocol';
import type { LapClient } from '../laps/lap-client.ts';
import type { Bounds } from '../trust/compare.ts';
import type { Judge } from '../trust/judge.ts';

/** Experts of one layer tested in one lap, with one row each. */
const EXPERTS_PER_LAP = 64;
/** The tab's pipelines are compiled by now, but its GPU may be busy. */
const TEST_LAP_DEADLINE_MS = 30_000;

export interface KnownAnswerResult {
  tested: number;
  matched: number;
}

export interface ExpertRef {
  layer: number;
  expert: number;
  /** What is added to it; by default nothing. */
  adapter?: ExpertAdapter | undefined;
}

/**
 * Tests every expert with a random row over the real lap path, and compares its answer with the coordinator's own from the same
 * packed weights. Rejects with a LapError if the peer doesn't answer.
 */
export async function knownAnswerTest(
  laps: Pick<LapClient, 'ask'>,
  judge: Judge,
  experts: readonly ExpertRef[],
  hiddenSize: number,
  bounds: Bounds,
): Promise<KnownAnswerResult> {
  const result = { tested: 0, matched: 0 };
  // Random, so that answers cannot be prepared.
  const rng = createRng(randomBytes(4).readUInt32LE());
  for (const group of byLayer(experts)) {
    const item = testItem(group, hiddenSize, bounds.rowFormat, rng);
    const answer = await laps.ask(item, { deadlineMs: TEST_LAP_DEADLINE_MS });
    const verdicts = await judge.rows(item, answer.partial, bounds);
    result.tested += verdicts.length;
    result.matched += verdicts.filter((verdict) => verdict !== 'wrong').length;
  }
  return result;
}

function* byLayer(experts: readonly ExpertRef[]): Iterable<ExpertRef[]> {
  for (const layer of new Set(experts.map((ref) => ref.layer))) {
    const all = experts.filter((ref) => ref.layer === layer);
    for (let i = 0; i < all.length; i += EXPERTS_PER_LAP) yield all.slice(i, i + EXPERTS_PER_LAP);
  }
}

function testItem(group: readonly ExpertRef[], hiddenSize: number, rowFormat: RowFormat, rng: () => number): WorkItem {
  // Sums of uniforms are close enough to the unit-variance rows that RMSNorm makes.
  const x = Float32Array.from({ length: group.length * hiddenSize }, () => (rng() + rng() + rng() - 1.5) * 2);
  const adapters = new ItemAdaptersBuilder();
  for (const { adapter } of group) {
    if (adapter) adapters.add(adapter);
    adapters.end();
  }
  return uniformWorkItem({
    adapters: adapters.build(),
    layer: group[0]!.layer,
    ...itemRows(rowFormat, x, hiddenSize),
    numRows: group.length,
    experts: Uint16Array.from(group, (ref) => ref.expert),
    weights: new Float32Array(group.length).fill(1),
  });
}
