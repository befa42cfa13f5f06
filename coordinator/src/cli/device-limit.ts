import { type ExpertDispatch, limitDevices, type ModelConfig } from '@shoal/model';
import { z } from 'zod';
import { UsageError } from '../base/usage-error.ts';
import { readText } from './in-process-options.ts';

/** The file of `--placement`: the experts that each tab holds, by MoE layer. */
const placementSchema = z.strictObject({
  tabs: z.record(z.string().min(1), z.record(z.string().regex(/^\d{1,5}$/), z.array(z.int().min(0).max(65_535)))),
});

/** Holders of each expert, by layer: indices of tabs. */
export type PlacementFile = ReadonlyMap<number, ReadonlyMap<number, readonly number[]>>;

/** Throws a UsageError that names the file, and the tab and layer that are wrong. */
export async function readPlacement(path: string, config: ModelConfig): Promise<PlacementFile> {
  let json: unknown;
  try {
    json = JSON.parse(await readText(path));
  } catch (error) {
    throw new UsageError(`--placement: ${path} is not JSON that can be read: ${(error as Error).message}`);
  }
  const parsed = placementSchema.safeParse(json);
  if (!parsed.success) {
    const { path: keys, message } = parsed.error.issues[0]!;
    throw new UsageError(
      `--placement: ${path}: ${keys.join('.') || 'the document'}: ${message}; write {"tabs": {"name": {"1": [0, 1, 2]}}}`,
    );
  }
  const layers = new Map<number, Map<number, number[]>>();
  for (const [tab, [name, held]] of Object.entries(parsed.data.tabs).entries()) {
    for (const [layer, experts] of Object.entries(held)) {
      const outside = experts.find((expert) => expert >= config.nRoutedExperts);
      if (outside !== undefined || Number(layer) >= config.numHiddenLayers) {
        throw new UsageError(
          `--placement: ${path}: tab "${name}", layer ${layer}: the model has no expert ${outside ?? 'there'}`,
        );
      }
      const holders = layers.get(Number(layer)) ?? new Map<number, number[]>();
      layers.set(Number(layer), holders);
      for (const expert of experts) holders.set(expert, [...(holders.get(expert) ?? []), tab]);
    }
  }
  return layers;
}

export interface LimitedExperts extends ExpertDispatch {
  /** Tokens × MoE layers routed, and those whose experts the limit changed. */
  readonly usage: { tokenLayers: number; changed: number };
}

/** The same experts under DeepSeek-V2's device-limited routing (§2.2.2), as if they were placed as in the file. */
export function limitExperts(
  experts: ExpertDispatch,
  placement: PlacementFile,
  maxPeers: number,
  { numExpertsPerTok }: ModelConfig,
): LimitedExperts {
  const usage = { tokenLayers: 0, changed: 0 };
  return {
    usage,
    dispatch: (call) => experts.dispatch(call),
    choose: (layer, _row, scores, allowed) => {
      const within = new Set(allowed);
      const { topkIdx, changed } = limitDevices(scores, numExpertsPerTok, {
        maxPeers,
        holders: (expert) => placement.get(layer)?.get(expert) ?? [],
        allowed: (expert) => within.has(expert),
      });
      usage.tokenLayers++;
      if (changed) usage.changed++;
      return topkIdx;
    },
  };
}
