import {
  createReferenceEngine,
  DraftVocabulary,
  type EngineEagle3Row,
  type ForwardEngine,
  type HeadConfig,
  loadDenseWeights,
  loadHeadWeights,
  type ModelConfig,
  parseHeadConfig,
  type RowSlots,
} from '@shoal/model';
import { afterEach, describe, expect, it } from 'vitest';
import { nmse } from '../../testing/numbers.ts';
import { config as mla, experts, gqa, reader } from '../testing/small-model.ts';
import { openWasmEngine } from './open.ts';

const open: ForwardEngine[] = [];
afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close();
});

/** An EAGLE-3 head of random weights. */
function headFor(target: ModelConfig): HeadConfig {
  const json = {
    architectures: ['LlamaForCausalLMEagle3'],
    hidden_size: target.hiddenSize,
    vocab_size: target.vocabSize,
    intermediate_size: 31,
    num_hidden_layers: 2,
    num_attention_heads: 3,
    num_key_value_heads: 1,
    head_dim: 14,
    draft_vocab_size: 29,
    eagle_aux_hidden_state_layer_ids: [0, 2, target.numHiddenLayers],
  };
  const { config } = parseHeadConfig(json, target, 'config.json');
  return { ...config, stored: { ...config.stored, embedding: false } };
}

async function enginesFor(target: ModelConfig): Promise<{ reference: ForwardEngine; wasm: ForwardEngine }> {
  const config = headFor(target);
  const vocabulary = new DraftVocabulary(Int32Array.from({ length: 29 }, (_, i) => i + 20));
  const weights = await loadDenseWeights(target, reader);
  const head = { config, vocabulary, weights: await loadHeadWeights(config, reader) };
  const wasm = await openWasmEngine({
    config: target,
    weights: { reader, format: 'f32' },
    threads: 2,
    kvBytes: 2 ** 20,
    head: { config, vocabulary, reader, format: 'f32' },
  });
  open.push(wasm);
  return { reference: createReferenceEngine({ config: target, weights }, head), wasm };
}

const granite: ModelConfig = { ...gqa, residualMultiplier: 0.3, embeddingMultiplier: 2 };

describe.each([
  ['MLA', mla],
  ['GQA', gqa],
  ['GQA with factors', granite],
])('a head of a model with %s', (_, target) => {
  it('gets the hidden states that the reference gives, and drafts the same from them', async () => {
    const { reference, wasm } = await enginesFor(target);
    const ids = Array.from({ length: 40 }, (_, i) => (i * 7 + 1) % 53);
    const run = async (engine: ForwardEngine) => {
      const cache = engine.newSequence();
      const { auxiliary } = await engine.forward(
        ids.map((tokenId, position) => ({ tokenId, position, cache })),
        experts,
      );
      const own = engine.head!.newSequence();
      const width = auxiliary!.length / ids.length;
      const query = { token: { temperature: 0, topP: 1, uniform: 0 }, topLogprobs: 3 };
      const { logits, hidden, answers } = await engine.head!.forwardEagle3(
        ids.slice(1).map((nextTokenId, position): EngineEagle3Row => {
          const row = auxiliary!.slice(position * width, (position + 1) * width);
          return { hidden: row, isOwn: false, nextTokenId, position, cache: own, wantLogits: true, query };
        }),
      );
      return { auxiliary: auxiliary!, logits: logits.flatMap((row) => [...row!]), hidden, answers };
    };
    const [expected, got] = [await run(reference), await run(wasm)];
    expect(nmse(got.auxiliary, expected.auxiliary)).toBeLessThan(1e-6);
    expect(nmse(got.hidden, expected.hidden)).toBeLessThan(1e-5);
    expect(nmse(got.logits, expected.logits)).toBeLessThan(1e-5);
    const tokens = ({ answers }: typeof got): number[] =>
      answers.map((answer) => (answer as { tokenId: number }).tokenId);
    expect(tokens(got)).toEqual(tokens(expected));
    expect(Math.min(...tokens(got))).toBeGreaterThanOrEqual(20);
  });

  it('computes the rows of a tree to the bits of each path alone', async () => {
    const { wasm } = await enginesFor(target);
    const head = wasm.head!;
    const { hiddenSize } = target;
    const state = (seed: number, count: number): Float32Array =>
      Float32Array.from({ length: count }, (_, i) => Math.sin(seed * 31 + i));
    const cache = head.newSequence();
    const known = Array.from({ length: 21 }, (_, position): EngineEagle3Row => {
      return { hidden: state(position, 3 * hiddenSize), isOwn: false, nextTokenId: position, position, cache };
    });
    await head.forwardEagle3(known);
    const draft = (token: number, position: number, slots?: RowSlots): EngineEagle3Row => {
      const hidden = state(token, hiddenSize);
      return { hidden, isOwn: true, nextTokenId: token, position, cache, slots, wantLogits: true };
    };
    // Two drafts after the text, and one after the second of them.
    const tree = await head.forwardEagle3([draft(40, 21), draft(41, 21, [22]), draft(42, 22, [22, 23])]);
    cache.truncate(21);
    const path = await head.forwardEagle3([draft(41, 21), draft(42, 22)]);
    expect(tree.logits.slice(1)).toEqual(path.logits);
    cache.truncate(21);
    expect((await head.forwardEagle3([draft(40, 21)])).logits[0]).toEqual(tree.logits[0]);
  });
});
