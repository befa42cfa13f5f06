import type { Mixture } from './adapters/adapter.ts';
import { firstPassScalings, scalingsOf } from './adapters/mixture.ts';
import type { ExpertDispatch } from './dispatch.ts';
import type { EngineRow, ForwardEngine } from './forward-engine.ts';
import type { ForwardObserver } from './forward-observer.ts';
import type { SequenceCache } from './sequence-cache.ts';

/** A row of the first pass of a mixture. */
export interface FirstPassRow extends Pick<EngineRow, 'tokenId' | 'position' | 'slots' | 'adapter'> {
  mixture: Mixture;
  /** The first pass's own sequence, in step with that of the second. */
  cache: SequenceCache;
}

/** What a first pass gives: each row's scalings for the second. */
export interface FirstPassResult {
  scalings: Float32Array[];
  /** As in `ForwardResult`. */
  faults?: readonly (Error | undefined)[] | undefined;
}

/**
 * Runs the first pass of rows that have a mixture of adapters, and its classifier on their hidden states. A row's scalings are
 * independent of the other rows, bit for bit. Throws as `ForwardEngine.forward` does.
 */
export async function computeScalings(
  engine: Pick<ForwardEngine, 'forward' | 'config'>,
  rows: readonly FirstPassRow[],
  experts: ExpertDispatch,
  observe: ForwardObserver = {},
): Promise<FirstPassResult> {
  const first = rows.map(({ tokenId, position, slots, adapter, mixture, cache }): EngineRow => {
    const scalings = firstPassScalings(mixture);
    return { tokenId, position, slots, cache, ...(scalings && { adapter, scalings }) };
  });
  const { normed, faults } = await engine.forward(first, experts, observe);
  const { hiddenSize } = engine.config;
  const scalings: Float32Array[] = [];
  for (const mixture of new Set(rows.map((row) => row.mixture))) {
    const own = rows.flatMap((row, r) => (row.mixture === mixture ? [r] : []));
    const hidden = new Float32Array(own.length * hiddenSize);
    for (const [i, r] of own.entries())
      hidden.set(normed.subarray(r * hiddenSize, (r + 1) * hiddenSize), i * hiddenSize);
    const found = await scalingsOf(mixture, hidden);
    for (const [i, r] of own.entries()) scalings[r] = found[i]!;
  }
  return { scalings, faults };
}
