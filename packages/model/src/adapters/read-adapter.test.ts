import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseModelConfig } from '../config.ts';
import { parseHeader, PREFIX_BYTES, readHeaderLength, type TensorDtype } from '../safetensors.ts';
import { serialise } from '../testing/quantised-fixtures.ts';
import { AdapterError } from './adapter-error.ts';
import { readAdapter } from './read-adapter.ts';

const golden = join(import.meta.dirname, '../../../../test/golden/fixtures');
const config = parseModelConfig(JSON.parse(readFileSync(join(golden, 'families/qwen2-moe/config.json'), 'utf8')));
const adapterDir = join(golden, 'adapters/qwen2-moe/all');
const ROOM = 2 ** 20;

interface Tensor {
  dtype: TensorDtype;
  shape: readonly number[];
  bytes: Uint8Array;
}
type Tensors = Map<string, Tensor>;

/** The fixture's tensors. */
function fixtureTensors(): Tensors {
  const bytes = readFileSync(join(adapterDir, 'adapter_model.safetensors'));
  const end = PREFIX_BYTES + readHeaderLength(bytes.subarray(0, PREFIX_BYTES), bytes.byteLength, 'fixture');
  const table = parseHeader(bytes.subarray(PREFIX_BYTES, end), bytes.byteLength, 'fixture');
  return new Map(
    [...table].map(([name, { dtype, shape, offset, bytes: size }]) => {
      return [name, { dtype, shape, bytes: Uint8Array.from(bytes.subarray(offset, offset + size)) }];
    }),
  );
}

const fixtureConfig = (): Record<string, unknown> =>
  JSON.parse(readFileSync(join(adapterDir, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;

let dir: string;
beforeAll(() => (dir = mkdtempSync(join(tmpdir(), 'shoal-adapter-'))));
afterAll(() => rmSync(dir, { recursive: true }));

/** Reads the fixture after a change of its config or its tensors. */
async function readChanged(change: { config?: object; tensors?: (tensors: Tensors) => void; room?: number }) {
  const tensors = fixtureTensors();
  change.tensors?.(tensors);
  writeFileSync(join(dir, 'adapter_config.json'), JSON.stringify({ ...fixtureConfig(), ...change.config }));
  writeFileSync(join(dir, 'adapter_model.safetensors'), serialise(tensors));
  return readAdapter(dir, config, change.room ?? ROOM);
}

const Q_A = 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight';
const rename = (tensors: Tensors, from: string, to: string): void => {
  const tensor = tensors.get(from)!;
  tensors.delete(from);
  tensors.set(to, tensor);
};

describe('readAdapter', () => {
  it('reads ranks and scales by module, and multiplies B by the scale', async () => {
    const { adapter, baseModel } = await readAdapter(adapterDir, config, ROOM);
    expect(baseModel).toBe('qwen2-moe');
    expect(adapter.layers.map(({ q, o, v }) => [q!.rank, o!.rank, v!.rank])).toEqual([
      [5, 2, 2],
      [5, 1, 2],
      ...Array.from({ length: config.numHiddenLayers - 2 }, () => [5, 2, 2]),
    ]);
    const stored = fixtureTensors().get('base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight')!;
    const b = new Float32Array(stored.bytes.buffer);
    expect(adapter.layers[0]!.v!.b).toEqual(b.map((value) => value * (7 / 2)));
    expect(adapter.layers[0]!.k).toBeUndefined();
    const rows = Object.values(adapter.layers).flatMap((layer) => Object.values(layer));
    expect(adapter.bytes).toBe(rows.reduce((sum, { a, b: own }) => sum + a.byteLength + own.byteLength, 0));
  });

  it.each<[string, Parameters<typeof readChanged>[0], AdapterError['reason'], RegExp]>([
    ['DoRA', { config: { use_dora: true } }, 'unsupported', /use_dora is true/],
    ['another kind', { config: { peft_type: 'IA3' } }, 'unsupported', /peft_type is "IA3"/],
    ['biases', { config: { bias: 'lora_only' } }, 'unsupported', /bias is "lora_only"/],
    ['biases of B', { config: { lora_bias: true } }, 'unsupported', /lora_bias is true/],
    ['whole modules', { config: { modules_to_save: ['lm_head'] } }, 'unsupported', /modules_to_save is \["lm_head"\]/],
    ['repeated layers', { config: { layer_replication: [[0, 2]] } }, 'unsupported', /layer_replication/],
    ['a changed base', { config: { init_lora_weights: 'pissa' } }, 'unsupported', /init_lora_weights is "pissa"/],
    ['an unknown key', { config: { use_new_thing: 3 } }, 'unsupported', /use_new_thing is 3/],
    ['rank 0', { config: { r: 0 } }, 'bad-value', /r is 0/],
    ['a huge rank', { config: { r: 100_000 } }, 'bad-value', /r is 100000/],
    ['a rank of 0 in a pattern', { config: { rank_pattern: { q_proj: 0 } } }, 'bad-value', /rank_pattern.q_proj is 0/],
    ['no rank', { config: { r: undefined } }, 'bad-value', /r is missing/],
    ['a hostile pattern', { config: { rank_pattern: { '(a+)+x': 2 } } }, 'unsupported', /regular expression/],
    ['a missing half', { tensors: (all) => all.delete(Q_A) }, 'bad-value', /q_proj has a lora_B but no lora_A/],
    ['no tensors', { tensors: (all) => all.clear() }, 'bad-value', /has no tensors/],
    [
      'NaN',
      { tensors: (all) => new Float32Array(all.get(Q_A)!.bytes.buffer).fill(Number.NaN, 3, 4) },
      'bad-value',
      /q_proj.lora_A.weight has NaN or ∞/,
    ],
    [
      'another width',
      { tensors: (all) => all.set(Q_A, { dtype: 'F32', shape: [5, 2], bytes: new Uint8Array(40) }) },
      'other-model',
      /q_proj.lora_A.weight is \[5,2\].*made for another model/,
    ],
    [
      'numbers of another kind',
      { tensors: (all) => all.set(Q_A, { dtype: 'I8', shape: [5, 2], bytes: new Uint8Array(10) }) },
      'unsupported',
      /q_proj.lora_A.weight is I8/,
    ],
    [
      'a layer that is not there',
      {
        tensors: (all) => [...all.keys()].forEach((name) => rename(all, name, name.replace('layers.0.', 'layers.70.'))),
      },
      'other-model',
      /layers\.70\.\S+, which this model does not have/,
    ],
    [
      'a vector of DoRA',
      { tensors: (all) => rename(all, Q_A, Q_A.replace('lora_A', 'lora_magnitude_vector')) },
      'unsupported',
      /belongs to DoRA/,
    ],
    [
      'the output head',
      {
        tensors: (all) =>
          [...all.keys()].forEach((name) => rename(all, name, name.replace(/model\.layers.*proj/, 'lm_head'))),
      },
      'unsupported',
      /changes lm_head, which belongs to .* not computed: train one without lm_head/,
    ],
    ...['embed_tokens.lora_embedding_A', 'embed_tokens.base_layer.weight', 'embed_tokens.weight'].map(
      (name): [string, Parameters<typeof readChanged>[0], AdapterError['reason'], RegExp] => [
        name,
        { tensors: (all) => rename(all, Q_A, `base_model.model.model.${name}`) },
        'unsupported',
        /embed_tokens\S* belongs to the embedding or the output head.*: train one without/,
      ],
    ),
    ['more than there is room for', { room: 1000 }, 'too-large', /takes \d+ bytes, and there is room for 1000/],
  ])('refuses %s by name', async (_, change, reason, message) => {
    const error = await readChanged(change).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(AdapterError);
    expect(error).toMatchObject({ reason });
    expect((error as Error).message).toMatch(message);
  });

  it('refuses files that are missing, cut off or no JSON by name', async () => {
    const message = (): Promise<string> => readAdapter(dir, config, ROOM).then(String, (error: Error) => error.message);
    await readChanged({});
    const whole = readFileSync(join(dir, 'adapter_model.safetensors'));
    writeFileSync(join(dir, 'adapter_model.safetensors'), whole.subarray(0, -10));
    expect(await message()).toMatch(/adapter_model.safetensors: .*(truncated|outside|damaged)/);
    rmSync(join(dir, 'adapter_model.safetensors'));
    expect(await message()).toMatch(/adapter_model.safetensors: cannot be opened/);
    writeFileSync(join(dir, 'adapter_config.json'), '[');
    expect(await message()).toMatch(/adapter_config.json: not valid JSON/);
  });
});
