import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { headTensors, loadHeadWeights } from './head-tensors.ts';
import { openHead } from './open-head.ts';

const FIXTURES = join(import.meta.dirname, '../../../../test/golden/fixtures/heads');
const TARGET = { hiddenSize: 48, vocabSize: 112, numHiddenLayers: 3, maxPositionEmbeddings: 128 };

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

type Keys = Record<string, unknown>;

/** A copy of a fixture with another config.json. */
async function changed(name: string, change: (config: Keys) => Keys): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'shoal-head-'));
  folders.push(dir);
  await cp(join(FIXTURES, name), dir, { recursive: true });
  const config = JSON.parse(await readFile(join(dir, 'config.json'), 'utf8')) as Keys;
  await writeFile(join(dir, 'config.json'), JSON.stringify(change(config)));
  return dir;
}

/** The file with one tensor renamed, to one as long. */
async function renamed(name: string, from: string, to: string): Promise<string> {
  const dir = await changed(name, (config) => config);
  const path = join(dir, 'model.safetensors');
  const file = await readFile(path, 'latin1');
  await writeFile(path, file.replace(`"${from}"`, `"${to}"`), 'latin1');
  return dir;
}

async function opened(dir: string, target = TARGET) {
  const head = await openHead(dir, target);
  await head.close();
  return head;
}

describe('openHead', () => {
  it('reads the layout of the authors, and that of the speculators package', async () => {
    const theirs = await opened(join(FIXTURES, 'eagle3'));
    expect(theirs.config).toMatchObject({
      draftVocabSize: 60,
      // Counted as outputs there.
      auxiliaryLayers: [1, 2, 3],
      stored: { firstLayer: 'midlayer.', embedding: false, output: true },
      head: { normBeforeResidual: false, fcNorm: 'none', goesOnAfterNorm: false },
    });
    expect(theirs.trainedFor).toBeUndefined();
    const packages = await opened(join(FIXTURES, 'eagle3-residual'));
    expect(packages.config).toMatchObject({
      auxiliaryLayers: [0, 1, 2],
      stored: { firstLayer: 'layers.0.', embedding: true, output: true },
      head: { normBeforeResidual: true, fcNorm: 'each', goesOnAfterNorm: true },
    });
    expect(packages.trainedFor).toBe('shoal/qwen3-moe');
    expect(headTensors(packages.config).layers).toHaveLength(2);
  });

  it('takes the usual layers, and transformers’ values for keys that are not there', async () => {
    const dir = await changed('eagle3', (config) => ({
      ...config,
      eagle_config: null,
      rope_theta: null,
      rope_scaling: null,
    }));
    const { config } = await opened(dir, { ...TARGET, numHiddenLayers: 36 });
    expect(config.auxiliaryLayers).toEqual([2, 18, 33]);
    expect(config.transformer.rope.inverseFrequencies[1]).toBeCloseTo(10_000 ** (-2 / 12), 12);
  });

  const misfits: [
    what: string,
    name: string,
    change: (config: Keys) => Keys,
    target: Partial<typeof TARGET>,
    error: RegExp,
  ][] = [
    ['hidden size', 'eagle3', (c) => c, { hiddenSize: 64 }, /hidden_size is 48 but the model's is 64/],
    ['vocabulary', 'eagle3-residual', (c) => c, { vocabSize: 2048 }, /vocab_size is 112 but the model's is 2048/],
    [
      'number of layers',
      'eagle3',
      (c) => c,
      { numHiddenLayers: 2 },
      /layer_ids is \[1,2,3\] but the model has 2 layers/,
    ],
    [
      'target size',
      'eagle3',
      (c) => ({ ...c, target_hidden_size: 64 }),
      {},
      /target_hidden_size is 64 but the model's is 48/,
    ],
    ['key', 'eagle3', (c) => ({ ...c, medusa_heads: 3 }), {}, /medusa_heads is set to 3/],
    ['key of the package', 'eagle3-residual', (c) => ({ ...c, twist: 1 }), {}, /twist is set to 1/],
    [
      'older head',
      'eagle3',
      (c) => ({ ...c, eagle_config: { use_aux_hidden_state: false } }),
      {},
      /use_aux_hidden_state/,
    ],
    ['kind', 'eagle3', (c) => ({ ...c, architectures: ['LlamaForCausalLM'] }), {}, /supported heads.*--draft-model/],
    ['kind of the package', 'eagle3-residual', (c) => ({ ...c, speculators_model_type: 'mlp' }), {}, /is "mlp"/],
    ['layers', 'eagle3', (c) => ({ ...c, model_type: 'gemma3' }), {}, /"gemma3"/],
    ['both norms', 'eagle3-residual', (c) => ({ ...c, norm_before_fc: true }), {}, /norm_before_fc is true too/],
    ['tokens', 'eagle3', (c) => ({ ...c, draft_vocab_size: 61 }), {}, /d2t: is I64 \[60\], but the head has 61 tokens/],
    ['norm', 'eagle3', (c) => ({ ...c, norm_before_fc: true }), {}, /input_norm.weight/],
    ['bias', 'eagle3-whole-norm', (c) => withLayer(c, { attention_bias: false }), {}, /proj.bias.*not used/],
  ];
  it.each(misfits)('says what is wrong with another %s', async (_, name, change, target, error) => {
    await expect(openHead(await changed(name, change), { ...TARGET, ...target })).rejects.toThrow(error);
  });

  it('says which tensor is missing, too many or damaged', async () => {
    await expect(openHead(await renamed('eagle3', 'fc.weight', 'fx.weight'), TARGET)).rejects.toThrow(/fc\.weight/);
    await expect(openHead(await renamed('eagle3', 'd2t', 'd3t'), TARGET)).rejects.toThrow(/d2t: is missing.*60 tokens/);
    await expect(openHead(await renamed('eagle3', 'lm_head.weight', 'lm_hexd.weight'), TARGET)).rejects.toThrow(
      /lm_head.weight: is missing.*60 tokens of the model's 112/,
    );
    // NaN of bfloat16.
    const head = await openHead(await patched('norm.weight', (bytes) => bytes.writeUInt16LE(0x7fc0, 6)), TARGET);
    await expect(loadHeadWeights(head.config, head.reader)).rejects.toThrow(/norm.weight.*NaN/);
    await head.close();
  });

  it.each([
    [500n, /to 507, but the model has 112/],
    [-900n, /to -893, but the model has 112/],
    [0n, /two of the head's tokens to \d+/],
  ])('refuses a map of tokens to what is no token, or twice to the same: %s', async (value, error) => {
    const dir = await patched('d2t', (bytes) => {
      // The same token as the one before.
      const same = bytes.readBigInt64LE(6 * 8) - 1n;
      bytes.writeBigInt64LE(value || same, 7 * 8);
    });
    await expect(openHead(dir, TARGET)).rejects.toThrow(error);
  });
});

/** A copy of a fixture with other bytes of one tensor. */
async function patched(tensor: string, patch: (bytes: Buffer) => void): Promise<string> {
  const dir = await changed('eagle3', (config) => config);
  const path = join(dir, 'model.safetensors');
  const file = await readFile(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + length).toString()) as Record<string, { data_offsets: number[] }>;
  const [from, to] = header[tensor]!.data_offsets as [number, number];
  patch(file.subarray(8 + length + from, 8 + length + to));
  await writeFile(path, file);
  return dir;
}

function withLayer(config: Keys, layer: Keys): Keys {
  return { ...config, transformer_layer_config: { ...(config['transformer_layer_config'] as Keys), ...layer } };
}
