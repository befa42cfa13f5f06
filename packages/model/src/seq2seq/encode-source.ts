import type { ExpertDispatch } from '../dispatch.ts';
import { checkSequences, type EncodeResult } from '../encoder.ts';
import { embed } from '../forward.ts';
import { writeKeysAndValues } from '../gqa.ts';
import { KvCache } from '../kv-cache.ts';
import type { ForwardObserver } from '../forward-observer.ts';
import { RowFaults } from '../row-faults.ts';
import { addFfn, attendToOwn, attentionInput } from './layer.ts';
import { normed, partsOf, ReferenceSource, type Seq2SeqModel } from './model.ts';
import { addSinusoid, PositionBias, sinusoidPlaces } from './positions.ts';

/**
 * Runs the encoder on whole sources. Each row attends to all rows of its own source, and the gate chooses for each source by itself, so
 * that its rows are bit for bit independent of the other sources (provided `experts` is). Throws as `encode` does.
 */
export async function encodeSource(
  model: Seq2SeqModel,
  sources: readonly (readonly number[])[],
  experts: ExpertDispatch,
  observe: ForwardObserver = {},
): Promise<EncodeResult> {
  const { config, weights } = model;
  checkSequences(sources, config);
  const { attention, seq2seq } = partsOf(config);
  const rows = sources.flatMap((source) => {
    // Of the layer that is being computed.
    const cache = new KvCache({ attention, numHiddenLayers: 1 });
    cache.append(source.length);
    return source.map((_, position) => ({ position, cache, last: source.length - 1 }));
  });
  const { positionBias } = weights;
  const { positions } = seq2seq;
  const bias =
    positionBias && positions.kind === 'buckets' ? new PositionBias(positionBias.encoder, true, positions) : undefined;
  const faults = new RowFaults(rows.map(({ cache }) => cache));
  const lengths = sources.map(({ length }) => length);
  const pass = { config, rows, lengths, bias, experts, observe, faults };
  const x = embeddedSources(model, sources);
  faults.check(x, (row) => `the embedding of token ${sources.flat()[row]}`);
  for (let layer = 0; layer < seq2seq.encoderLayers; layer++) {
    attendToOwn(pass, weights.layers[layer]!, 0, x);
    faults.check(x, () => `what attention gives in layer ${layer}`);
    await addFfn(pass, weights.layers[layer]!, layer, x);
  }
  const hidden = normed(x, weights.encoderNorm, config);
  faults.check(hidden, () => 'the norm after the encoder');
  return { hidden, faults: faults.into({ answers: [] }).faults };
}

/** [rows of all sources, hiddenSize] */
function embeddedSources(model: Seq2SeqModel, sources: readonly (readonly number[])[]): Float32Array {
  const { config } = model;
  const { hiddenSize } = config;
  const x = embed(model, sources.flat());
  const { positions } = partsOf(config).seq2seq;
  if (positions.kind !== 'sinusoid') return x;
  const places = sources.flatMap((source) => sinusoidPlaces(source, positions.padTokenId));
  for (const [r, place] of places.entries()) {
    addSinusoid(x.subarray(r * hiddenSize, (r + 1) * hiddenSize), place, positions.padTokenId);
  }
  return x;
}

/** The keys and values that the decoder's layers see of a source, from the encoder's rows [length, hiddenSize]. */
export function sourceOf({ config, weights }: Seq2SeqModel, hidden: Float32Array): ReferenceSource {
  const { attention, seq2seq } = partsOf(config);
  const decoder = weights.layers.slice(seq2seq.encoderLayers);
  const cache = new KvCache({ attention, numHiddenLayers: decoder.length });
  const length = hidden.length / config.hiddenSize;
  cache.append(length);
  const rows = Array.from({ length }, (_, position) => ({ position, cache }));
  for (const [i, { cross }] of decoder.entries()) {
    writeKeysAndValues(attention, cross!.attention, attentionInput({ config, rows }, hidden, i));
  }
  return new ReferenceSource(cache);
}

/** Reads sources for `decode`: each what rows of a target attend to, or why it can't be read. Throws as `encodeSource` does. */
export async function readSources(
  model: Seq2SeqModel,
  sources: readonly (readonly number[])[],
  experts: ExpertDispatch,
  observe?: ForwardObserver,
): Promise<(ReferenceSource | Error)[]> {
  const { hidden, faults } = await encodeSource(model, sources, experts, observe);
  const { hiddenSize } = model.config;
  let end = 0;
  return sources.map(({ length }) => {
    const first = end;
    end += length;
    const fault = faults?.slice(first, end).find((error) => error !== undefined);
    return fault ?? sourceOf(model, hidden.subarray(first * hiddenSize, end * hiddenSize));
  });
}
