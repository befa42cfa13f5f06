import {
  answerQuery,
  type EngineRow,
  type ExpertDispatch,
  type ForwardEngine,
  type ForwardObserver,
  type ForwardSegment,
  parseModelConfig,
} from '@shoal/model';
import type { GenerationRequest } from '../generation.ts';
import type { Scheduler } from '../scheduler.ts';
import { smallConfigJson } from './small-config.ts';

const VOCAB = 31;
export const NUM_LAYERS = 2;
const config = parseModelConfig({
  ...smallConfigJson,
  vocab_size: VOCAB,
  hidden_size: 1,
  num_hidden_layers: NUM_LAYERS,
  first_k_dense_replace: 0,
  max_position_embeddings: 200,
  eos_token_id: VOCAB - 1,
});

class Cache {
  length = 0;
  allocatedBytes = 0;
  isInPass = false;
  truncate(length: number): void {
    this.length = length;
  }
  keep(length: number, slots: readonly number[]): void {
    this.length = length + slots.length;
  }
  free(): void {
    if (this.isInPass) throw new Error('a cache is freed while it is in a pass');
    this.length = -1;
  }
}

/** The token that follows one at a position, in a model whose arithmetic is this line. */
const next = (tokenId: number, position: number): number => (tokenId * 7 + position * 3 + 1) % (VOCAB - 1);

/** What follows a prompt in that model. */
export function expected(promptIds: readonly number[], count: number): number[] {
  const ids = [...promptIds];
  while (ids.length < promptIds.length + count) ids.push(next(ids.at(-1)!, ids.length - 1));
  return ids.slice(promptIds.length);
}

/** The dense engine’s own work on the rows of one layer, and when it was done. */
export type LayerWork = (rows: number) => Promise<Pick<ForwardSegment, 'queuedMs' | 'startedMs' | 'endedMs'>>;

/**
 * Two layers that do nothing but `work` and wait for their laps; throws where a sequence is in two passes, or its positions are
 * out of order.
 */
export function lappingForward(work?: LayerWork): ForwardEngine {
  return {
    name: 'reference',
    config,
    kvBytesPerToken: 1,
    mtpKvBytesPerToken: 0,
    lendPages: () => undefined,
    sequenceOn: () => new Cache(),
    mtpSequenceOn: () => new Cache(),
    expertNormGain: () => new Float32Array(1),
    newSequence: () => new Cache(),
    newMtpSequence: () => new Cache(),
    openAdapter: () => {
      throw new Error('there are no adapters here');
    },
    async forward(rows, experts, observe = {}) {
      const release = claim(rows);
      try {
        for (let layer = 0; layer < NUM_LAYERS; layer++) {
          if (work) observe.segment?.({ kind: 'gate', layer, numRows: rows.length, ...(await work(rows.length)) });
          await lap(layer, rows.length, experts, observe);
        }
      } finally {
        release();
      }
      const answers = rows.map(({ tokenId, position, query }) => {
        const chosen = next(tokenId, position);
        return query && answerQuery(new Float32Array(VOCAB).fill(1, chosen, chosen + 1), query);
      });
      return {
        logits: rows.map(() => undefined),
        answers,
        hidden: new Float32Array(rows.length),
        normed: new Float32Array(rows.length),
      };
    },
    forwardMtp: () => Promise.reject(new Error('no MTP module')),
    close: async () => {},
  };
}

/** The rows' sequences are this pass's until the returned call. */
function claim(rows: readonly EngineRow[]): () => void {
  const caches = new Set(rows.map(({ cache }) => cache as Cache));
  for (const cache of caches) {
    if (cache.isInPass) throw new Error('a sequence is in two passes');
    cache.isInPass = true;
  }
  for (const { cache, position } of rows) {
    if ((cache as Cache).length++ !== position) throw new Error(`position ${position} is out of order`);
  }
  return () => {
    for (const cache of caches) cache.isInPass = false;
  };
}

async function lap(layer: number, numRows: number, experts: ExpertDispatch, observe: ForwardObserver): Promise<void> {
  const [x, topkWeights] = [new Float32Array(numRows), new Float32Array(numRows)];
  const handle = experts.dispatch({ layer, numRows, x, topkIdx: new Int32Array(numRows), topkWeights });
  observe.waits?.(layer);
  await handle.combine();
  observe.resumes?.(layer);
}

/** The ids of one greedy answer. */
export function submit(shoal: Scheduler, promptIds: readonly number[], maxTokens: number): Promise<number[]> {
  const { signal } = new AbortController();
  const base: GenerationRequest = { id: '', promptIds, maxTokens, temperature: 0, topP: 1, seed: 1, signal };
  const stream = shoal.submit(base);
  return (async () => {
    const ids: number[] = [];
    for await (const event of stream) if (event.type === 'token') ids.push(event.token.tokenId);
    return ids;
  })();
}
