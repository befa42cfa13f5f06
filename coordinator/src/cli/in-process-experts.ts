import { availableParallelism } from 'node:os';
import { createWasmBackend } from '@shoal/kernels/node';
import { type ExpertDispatch, itemOfCall, loadExpert, LocalExperts } from '@shoal/model';
import { expertShape, packExpert, shardBytes } from '@shoal/weights';
import type { OpenModel } from '@shoal/weights/node';
import { ExpertCache } from '../local-experts/expert-cache.ts';
import type { Config } from '../config.ts';

/** For routed experts cached between tokens: all of a small model, a working set of a large one. */
const EXPERT_CACHE_BYTES = 1024 * 1024 * 1024;

export interface OpenExperts {
  experts: ExpertDispatch;
  close(): void;
}

/**
 * A model's routed experts in this process. `reference` computes them in plain TypeScript on float32, to compare with other
 * implementations. `wasm` uses the kernels that serve, on a packed model's shards, or on f16 shards made from a checkpoint.
 */
export async function openExperts(
  { config, reader, packed }: OpenModel,
  engine: Config['engine'],
  threads = availableParallelism(),
): Promise<OpenExperts> {
  if (engine === 'reference') {
    const load = (layer: number, expert: number) => loadExpert(config, reader, layer, expert);
    return { experts: new LocalExperts(config, load, { maxBytes: EXPERT_CACHE_BYTES }), close: () => {} };
  }
  const shape = packed?.manifest.shape ?? expertShape(config, 'f16');
  const backend = await createWasmBackend({ shape, threads });
  const cache = new ExpertCache({
    backend,
    maxExperts: Math.floor(EXPERT_CACHE_BYTES / shardBytes(shape)),
    read: async (layer, expert) => {
      if (packed) return packed.readShard(layer, expert);
      return packExpert(shape, await loadExpert(config, reader, layer, expert));
    },
  });
  return {
    experts: { dispatch: (call) => ({ combine: () => cache.run(itemOfCall(call)) }) },
    close: () => backend.destroy(),
  };
}
