import { addBias } from '../expert.ts';
import { linear } from '../math.ts';
import type { ClassifierLayer, Mixture } from './adapter.ts';

/** Multiplications after which others get a turn on the calling thread: some milliseconds. */
const TURN_PRODUCTS = 4e6;

/** Scalings of each row [numLayers × numAdapters] from hidden states [numRows, hiddenSize] of the first pass, after the last norm. */
export async function scalingsOf(mixture: Mixture, hidden: Float32Array): Promise<Float32Array[]> {
  const { classifier } = mixture;
  const size = classifier[0]!.inDim;
  const products = classifier.reduce((sum, { weight }) => sum + weight.length, 0);
  const scalings: Float32Array[] = [];
  let done = 0;
  for (let from = 0; from < hidden.length; from += size) {
    if (done > TURN_PRODUCTS) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      done = 0;
    }
    scalings.push(applied(mixture, classify(classifier, hidden.subarray(from, from + size))));
    done += products;
  }
  return scalings;
}

/** Scalings of every row of the first pass; undefined where nothing is added in it. */
export function firstPassScalings(mixture: Mixture): Float32Array | undefined {
  const { rules, numAdapters, numLayers } = mixture;
  if (rules.firstPassValue === 0) return undefined;
  return selected(mixture, new Float32Array(numLayers * numAdapters).fill(rules.firstPassValue));
}

/** Throws a TypeError unless a row has the scalings that its adapter needs: a mixture's, or none. */
export function checkScalings(
  mixture: Pick<Mixture, 'numAdapters' | 'numLayers'> | undefined,
  scalings: Float32Array | undefined,
): void {
  const needed = mixture && mixture.numAdapters * mixture.numLayers;
  if (scalings?.length === needed) return;
  throw new TypeError(`a row with ${scalings?.length ?? 'no'} scalings for an adapter that needs ${needed ?? 'none'}`);
}

function classify(layers: readonly ClassifierLayer[], hidden: Float32Array): Float32Array {
  return layers.reduce((x, { weight, bias, inDim, outDim }, i) => {
    const y = addBias(linear(x, weight, 1, inDim, outDim), bias);
    return i < layers.length - 1 ? y.map((value) => Math.max(0, value)) : y;
  }, hidden);
}

/** What is applied, from the classifier's outputs [numLayers × numAdapters]; where layers share theirs, numLayers is 1. */
function applied(mixture: Mixture, outputs: Float32Array): Float32Array {
  const { softmaxTemperature } = mixture.rules;
  if (softmaxTemperature === null) return selected(mixture, outputs);
  return selected(
    mixture,
    byLayer(mixture, outputs, (own) => softmaxOf(own.map((value) => value / softmaxTemperature))),
  );
}

function selected(mixture: Mixture, scalings: Float32Array): Float32Array {
  const { topK, renormalises, weight } = mixture.rules;
  return byLayer(mixture, scalings, (all) => {
    const kept = topK === null ? all : largest(all, topK);
    const final = renormalises
      ? softmaxOf(kept.map((value) => (value === 0 ? Number.NEGATIVE_INFINITY : value)))
      : kept;
    return final.map((value) => value * weight);
  });
}

function byLayer(
  { numAdapters }: Mixture,
  scalings: Float32Array,
  change: (ofLayer: number[]) => number[],
): Float32Array {
  const changed = new Float32Array(scalings.length);
  for (let from = 0; from < scalings.length; from += numAdapters) {
    changed.set(change(Array.from(scalings.subarray(from, from + numAdapters))), from);
  }
  return changed;
}

/** The k largest values in their places, of equal ones the first; 0 elsewhere. */
function largest(values: readonly number[], k: number): number[] {
  const order = [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b);
  const kept = new Set(order.slice(0, k));
  return values.map((value, i) => (kept.has(i) ? value : 0));
}

/** −∞ becomes 0, also where all are −∞. */
function softmaxOf(values: readonly number[]): number[] {
  const most = Math.max(...values);
  if (most === Number.NEGATIVE_INFINITY) return values.map(() => 0);
  const powers = values.map((value) => Math.exp(value - most));
  const sum = powers.reduce((all, each) => all + each, 0);
  return powers.map((each) => each / sum);
}
