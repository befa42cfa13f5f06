import { realpath, stat } from 'node:fs/promises';
import { basename, isAbsolute, join, normalize, resolve, sep } from 'node:path';
import type { ModelConfig } from '../model-config.ts';
import { AdapterError } from './adapter-error.ts';
import { linearModules } from './adapter-modules.ts';
import { type Adapter, type AdapterTarget, type LowRank, MAX_MIXTURE_RANK, type Mixture } from './adapter.ts';
import { type MixtureConfig, parseMixtureConfig } from './mixture-config.ts';
import { classifierBytes, readClassifier } from './read-classifier.ts';

/** Reads a plain adapter of at most so many bytes. */
type ReadOne = (dir: string, maxBytes: number) => Promise<Adapter>;

export interface ReadMixtureOptions {
  json: object;
  model: ModelConfig;
  maxBytes: number;
  readOne: ReadOne;
}

/**
 * Reads an X-LoRA mixture: the classifier, and the adapters in folders of its own. It becomes one adapter, whose matrices are
 * those of its adapters one after the other. Throws an AdapterError that names the file and the key or tensor.
 */
export async function readMixture(
  dir: string,
  configFile: string,
  { json, model, maxBytes, readOne }: ReadMixtureOptions,
): Promise<{ adapter: Adapter; baseModel: string | null }> {
  const config = parseMixtureConfig(json, configFile);
  if (config.hiddenSize !== model.hiddenSize) {
    const problem = `${configFile}: hidden_size is ${config.hiddenSize}, and this model's is ${model.hiddenSize}`;
    throw new AdapterError('other-model', `${problem}: it was made for another model`);
  }
  const parts: Adapter[] = [];
  let room = maxBytes;
  for (const entry of config.adapters) {
    const part = await ofAdapter(entry.name, async () => readOne(await folderOf(dir, configFile, entry), room));
    room -= part.bytes;
    parts.push(part);
  }
  const numbers = numberModules(parts, config, model);
  const numOutputs = numbers.numLayers * parts.length;
  const bytes = classifierBytes(config, numOutputs);
  if (bytes > room) {
    throw new AdapterError('too-large', `the classifier takes ${bytes} bytes, and there is room for ${room}`);
  }
  const mixture: Mixture = {
    numAdapters: parts.length,
    numLayers: numbers.numLayers,
    classifier: await readClassifier(dir, config, numOutputs),
    rules: config.rules,
    experts: parts.map(({ experts }) => experts),
    bytes,
  };
  return { adapter: mixed(parts, numbers.of, mixture), baseModel: config.baseModel };
}

/** Says which adapter of the mixture an error is about. */
async function ofAdapter<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof AdapterError)) throw error;
    throw new AdapterError(error.reason, `the mixture's adapter ${name}: ${error.message}`, { cause: error });
  }
}

/** Possible places of an adapter inside the mixture's own directory, by what its config says. */
export function foldersOf({ name, path }: MixtureConfig['adapters'][number]): string[] {
  const own = basename(path);
  const inside = isAbsolute(path) ? [] : [normalize(path).replace(/\/+$/, '')];
  return [...new Set([...inside, name, ...(/^(?!\.+$)[\w.-]+$/.test(own) ? [own] : [])])];
}

async function folderOf(dir: string, configFile: string, entry: MixtureConfig['adapters'][number]): Promise<string> {
  const top = await realpath(dir);
  for (const folder of foldersOf(entry)) {
    if (folder.includes('\0')) continue;
    const found = await realpath(resolve(top, folder)).catch(() => undefined);
    // The config comes with a download: it must name nothing elsewhere.
    if (found?.startsWith(top + sep) && (await stat(join(found, configFile)).catch(() => undefined))) return found;
  }
  const problem = `${configFile} has it at ${JSON.stringify(entry.path.slice(0, 80))}, and no folder there or named ${entry.name} inside the mixture's directory holds it`;
  throw new AdapterError('unreadable', `${problem}: put it into ${entry.name}/`);
}

/** The number of a changed matrix's scalings among the layers of the classifier's outputs. */
type LayerNumber = (layer: number, target: AdapterTarget) => number;

function numberModules(
  parts: readonly Adapter[],
  { isLayerwise }: MixtureConfig,
  model: ModelConfig,
): { numLayers: number; of: LayerNumber } {
  const changes = (layer: number, target: AdapterTarget): boolean =>
    parts.some(({ layers }) => layers[layer]![target] !== undefined);
  const layers = [...Array(model.numHiddenLayers).keys()];
  if (layers.some((layer) => changes(layer, 'kvB'))) {
    const why = 'keys and values are made of latents whenever they are read, under the scalings of each position';
    throw new AdapterError('unsupported', `a mixture changes kv_b_proj, which is not computed (${why}): leave it out`);
  }
  if (!isLayerwise) return { numLayers: 1, of: () => 0 };
  if (parts.some(({ experts }) => experts.size > 0) || layers.some((layer) => changes(layer, 'moeGate'))) {
    const remedy = 'set layerwise_scalings to false, or leave them out';
    const problem = 'layerwise_scalings with adapters of routed experts or their gate, for which PEFT has no scalings';
    throw new AdapterError('unsupported', `a mixture has ${problem}: ${remedy}`);
  }
  const numbers = new Map<string, number>();
  const byTarget = new Map<string, number>();
  for (const { layer, target, module } of linearModules(model)) {
    if (!changes(layer, target)) continue;
    if (!numbers.has(module)) numbers.set(module, numbers.size);
    byTarget.set(`${layer} ${target}`, numbers.get(module)!);
  }
  return { numLayers: numbers.size, of: (layer, target) => byTarget.get(`${layer} ${target}`)! };
}

function mixed(parts: readonly Adapter[], numberOf: LayerNumber, mixture: Mixture): Adapter {
  const layers = parts[0]!.layers.map((_, layer) => {
    const targets = new Set(parts.flatMap((part) => Object.keys(part.layers[layer]!) as AdapterTarget[]));
    return Object.fromEntries(
      [...targets].map((target) => {
        const pairs = parts.map((part) => part.layers[layer]![target]);
        return [target, joined(pairs, numberOf(layer, target) * parts.length, `${target} of layer ${layer}`)];
      }),
    );
  });
  const ranks = layers.flatMap((layer) => Object.values(layer).map(({ rank }) => rank));
  const sum = (of: (part: Adapter) => number): number => parts.reduce((all, part) => all + of(part), 0);
  return {
    layers,
    experts: new Map(),
    maxRank: Math.max(...ranks, ...parts.map(({ maxRank }) => maxRank)),
    bytes: sum((part) => part.bytes) + mixture.bytes,
    expertBytes: sum((part) => part.expertBytes),
    mixture,
  };
}

/** The pairs of one matrix, by adapter, as one: A below A, B beside B. */
function joined(pairs: readonly (LowRank | undefined)[], firstScaling: number, what: string): LowRank {
  const own = [...pairs.entries()].flatMap(([adapter, pair]) => (pair ? [{ adapter, pair }] : []));
  const { inDim, outDim } = own[0]!.pair;
  const rank = own.reduce((sum, { pair }) => sum + pair.rank, 0);
  if (rank > MAX_MIXTURE_RANK) {
    const problem = `the mixture's adapters have rank ${rank} together at ${what}, and at most ${MAX_MIXTURE_RANK} is computed`;
    throw new AdapterError('too-large', `${problem}: mix fewer, or ones of smaller rank`);
  }
  const a = new Float32Array(rank * inDim);
  const b = new Float32Array(outDim * rank);
  const scalings = new Uint32Array(rank);
  let from = 0;
  for (const { adapter, pair } of own) {
    a.set(pair.a, from * inDim);
    for (let o = 0; o < outDim; o++) b.set(pair.b.subarray(o * pair.rank, (o + 1) * pair.rank), o * rank + from);
    scalings.fill(firstScaling + adapter, from, from + pair.rank);
    from += pair.rank;
  }
  return { rank, inDim, outDim, a, b, scalings };
}
