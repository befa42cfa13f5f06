import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseModelConfig } from '../config.ts';
import { parseHeader, PREFIX_BYTES, readHeaderLength } from '../safetensors.ts';
import { AdapterError } from './adapter-error.ts';
import type { Mixture } from './adapter.ts';
import { firstPassScalings } from './mixture.ts';
import { otherAdapterFiles, readAdapter } from './read-adapter.ts';

const golden = join(import.meta.dirname, '../../../../test/golden/fixtures');
const modelOf = (name: string) =>
  parseModelConfig(JSON.parse(readFileSync(join(golden, `families/${name}/config.json`), 'utf8')));
const model = modelOf('qwen2-moe');
const ROOM = 2 ** 20;
const CLASSIFIER = 'xlora_classifier.safetensors';

/** A copy of a fixture, which tests change. */
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'shoal-mixture-'));
  cpSync(join(golden, 'xlora/qwen2-moe/sparse'), dir, { recursive: true });
});
afterEach(() => rmSync(dir, { recursive: true }));

function setKeys(keys: object, folder = '.'): void {
  const path = join(dir, folder, 'adapter_config.json');
  writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, 'utf8')) as object), ...keys }));
}

/** Makes the first value of a file's first tensor NaN. */
function damage(file: string): void {
  const bytes = readFileSync(join(dir, file));
  const end = PREFIX_BYTES + readHeaderLength(bytes.subarray(0, PREFIX_BYTES), bytes.byteLength, file);
  const [first] = parseHeader(bytes.subarray(PREFIX_BYTES, end), bytes.byteLength, file).values();
  bytes.writeFloatLE(Number.NaN, first!.offset);
  writeFileSync(join(dir, file), bytes);
}

const replaceAdapter = (name: string, by: string): void =>
  cpSync(join(golden, 'adapters', by), join(dir, name), { recursive: true });

describe('readAdapter of a mixture', () => {
  it('reads one adapter with the ranks of all, and ignores keys without effect', async () => {
    setKeys({ use_trainable_adapters: true, xlora_dropout_p: 0.5 });
    const { adapter, baseModel } = await readAdapter(dir, model, ROOM);
    expect(baseModel).toBe('qwen2-moe');
    const { q, k, v, o } = adapter.layers[1]!;
    expect([q!.rank, k!.rank, v!.rank, o!.rank]).toEqual([5, 1, 4, 3]);
    // Of layer 1's q_proj, k_proj and o_proj, the fifth, sixth and eighth of the changed modules: 3 scalings each.
    expect([q!.scalings, k!.scalings, o!.scalings].map((numbers) => [...numbers!])).toEqual([
      [12, 12, 13, 13, 13],
      [17],
      [21, 21, 23],
    ]);
    expect(adapter.mixture).toMatchObject({ numAdapters: 3, numLayers: 8 });
    expect(await otherAdapterFiles(dir)).toEqual([
      [CLASSIFIER, 'adapter_model.safetensors'],
      ...[0, 1, 2].flatMap((name) => [[`${name}/adapter_config.json`], [`${name}/adapter_model.safetensors`]]),
    ]);
  });

  it.each<[string, () => void, AdapterError['reason'], RegExp]>([
    [
      'another hidden size',
      () => setKeys({ hidden_size: 64 }),
      'other-model',
      /hidden_size is 64, and this model's is 32/,
    ],
    ['no hidden size', () => setKeys({ hidden_size: undefined }), 'bad-value', /hidden_size is missing/],
    ['an unknown key', () => setKeys({ use_new_thing: 3 }), 'unsupported', /use_new_thing is 3/],
    ['a depth of 0', () => setKeys({ xlora_depth: 0 }), 'bad-value', /xlora_depth is 0/],
    ['another depth', () => setKeys({ xlora_depth: 2 }), 'bad-value', /xlora_depth is 2, and .* has 3 layers/],
    ['a temperature of 0', () => setKeys({ softmax_temperature: 0 }), 'bad-value', /softmax_temperature is 0/],
    ['no adapters', () => setKeys({ adapters: {} }), 'bad-value', /adapters is empty: name each adapter/],
    ['a name of a folder outside', () => setKeys({ adapters: { '..': 'x' } }), 'bad-value', /adapters\.\.\. is "x"/],
    ['a huge top-k', () => setKeys({ top_k_lora: 4 }), 'bad-value', /top_k_lora is 4, and there are 3 adapters/],
    [
      'a choice among equals',
      () => setKeys({ scaling_pass_value: 0.3 }),
      'unsupported',
      /scaling_pass_value is 0.3 with top_k_lora 2: .* set one of them to 0 or null/,
    ],
    [
      'fewer adapters than the classifier has',
      () => setKeys({ adapters: { '0': '0', '1': '1' } }),
      'bad-value',
      /weight is \[24,12\], .* need \[12,12\]: the classifier is another mixture's/,
    ],
    [
      'an adapter that is not there',
      () => setKeys({ adapters: { '0': '0', '1': '1', '3': '/home/me/three' } }),
      'unreadable',
      /adapter 3: .* has it at "\/home\/me\/three", and no folder .* named 3 .*: put it into 3\//,
    ],
    [
      'an adapter outside its directory',
      () => setKeys({ adapters: { a: '../../elsewhere/0', b: '../', c: '.' } }),
      'unreadable',
      /adapter b: .*put it into b\//,
    ],
    [
      'no classifier',
      () => rmSync(join(dir, CLASSIFIER)),
      'unreadable',
      /no xlora_classifier.safetensors and no adapter/,
    ],
    ['NaN in the classifier', () => damage(CLASSIFIER), 'bad-value', /xlora_classifier.safetensors: .* has NaN or ∞/],
    ['rank 0', () => setKeys({ r: 0 }, '1'), 'bad-value', /adapter 1: .*: r is 0/],
    ['DoRA', () => setKeys({ use_dora: true }, '0'), 'unsupported', /adapter 0: .*use_dora is true/],
    ['a mixture in it', () => setKeys({ peft_type: 'XLORA' }, '0'), 'unsupported', /adapter 0: .*peft_type is "XLORA"/],
    ['NaN in an adapter', () => damage('2/adapter_model.safetensors'), 'bad-value', /adapter 2: .*has NaN or ∞/],
    [
      'an adapter of another model',
      () => replaceAdapter('1', 'deepseek-v3/all'),
      'other-model',
      /adapter 1: .*made for another model/,
    ],
    [
      'scalings by layer of what has none in PEFT',
      () => replaceAdapter('2', 'qwen2-moe/ffn'),
      'unsupported',
      /layerwise_scalings with adapters of routed experts or their gate.*: set layerwise_scalings to false/,
    ],
  ])('refuses %s by name', async (_, change, reason, message) => {
    change();
    const error = await readAdapter(dir, model, ROOM).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(AdapterError);
    expect(error).toMatchObject({ reason, message: expect.stringMatching(message) });
  });

  it('refuses what there is no room for, counting all of its adapters and the classifier', async () => {
    const { adapter } = await readAdapter(dir, model, ROOM);
    expect((await readAdapter(dir, model, adapter.bytes)).adapter.bytes).toBe(adapter.bytes);
    await expect(readAdapter(dir, model, adapter.bytes - 1)).rejects.toThrow(
      /the classifier takes \d+ bytes, and .* \d+/,
    );
    const least = adapter.bytes - adapter.mixture!.bytes - 1;
    await expect(readAdapter(dir, model, least)).rejects.toThrow(/adapter 2: the adapter takes \d+ bytes/);
  });

  it('refuses kv_b_proj of latent attention, whose keys would need each position’s scalings', async () => {
    cpSync(join(golden, 'xlora/deepseek-v3/layers'), dir, { recursive: true });
    const deepseek = modelOf('deepseek-v3');
    expect((await readAdapter(dir, deepseek, ROOM)).adapter.mixture!.numLayers).toBe(21);
    replaceAdapter('1', 'deepseek-v3/attention');
    await expect(readAdapter(dir, deepseek, ROOM)).rejects.toThrow(/changes kv_b_proj.*: leave it out/);
  });
});

describe('firstPassScalings', () => {
  const mixture = (rules: Partial<Mixture['rules']>): Mixture => ({
    numAdapters: 4,
    numLayers: 1,
    classifier: [],
    rules: { softmaxTemperature: 1, topK: null, renormalises: false, weight: 2, firstPassValue: 0.5, ...rules },
    experts: [],
    bytes: 0,
  });

  it('are the value that PEFT passes, under the rules for all scalings but the softmax of the classifier', () => {
    expect(firstPassScalings(mixture({ firstPassValue: 0 }))).toBeUndefined();
    expect(firstPassScalings(mixture({}))).toEqual(Float32Array.of(1, 1, 1, 1));
    expect(firstPassScalings(mixture({ renormalises: true }))).toEqual(Float32Array.of(0.5, 0.5, 0.5, 0.5));
  });
});
