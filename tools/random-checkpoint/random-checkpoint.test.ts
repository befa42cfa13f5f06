import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  expertTensors,
  forward,
  KvCache,
  listDenseTensors,
  loadDenseWeights,
  loadExpert,
  LocalExperts,
} from '@shoal/model';
import { loadTokenizer, openCheckpoint } from '@shoal/model/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeRandomCheckpoint } from './write.ts';

const PUBLISHED = join(import.meta.dirname, '../../packages/model/src/testing/published-configs');
const V2_LITE = join(PUBLISHED, 'DeepSeek-V2-Lite.json');
let dir: string;
let configPath: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shoal-random-'));
  configPath = join(dir, 'small.json');
  const config = JSON.parse(await readFile(V2_LITE, 'utf8')) as object;
  const small = {
    hidden_size: 64,
    intermediate_size: 96,
    moe_intermediate_size: 32,
    n_routed_experts: 8,
    num_experts_per_tok: 2,
    num_attention_heads: 2,
    num_key_value_heads: 2,
    kv_lora_rank: 16,
    qk_nope_head_dim: 8,
    qk_rope_head_dim: 8,
    v_head_dim: 8,
    vocab_size: 1000,
    bos_token_id: 900,
    eos_token_id: 901,
  };
  await writeFile(configPath, JSON.stringify({ ...config, ...small }));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const write = (name: string, seed: number, sparse = false) =>
  writeRandomCheckpoint({ outDir: join(dir, name), configPath, layers: 2, seed, fileBytes: 200_000, sparse });

const weightFiles = async (name: string) =>
  (await readdir(join(dir, name))).filter((file) => file.endsWith('.safetensors')).sort();

describe('writeRandomCheckpoint', () => {
  it('writes a model that loads whole, tokenizes any text and computes finite logits of ordinary size', async () => {
    await write('a', 1);
    const checkpoint = await openCheckpoint(join(dir, 'a'));
    try {
      const { config } = checkpoint;
      expect(checkpoint.tensors).toHaveLength(listDenseTensors(config).length + 8 * 3);
      const tokenizer = await loadTokenizer(join(dir, 'a'));
      expect(tokenizer.vocabSize).toBe(1000);
      const text = 'once upon a time: ünïcödé, 1234';
      const ids = tokenizer.encodePrompt(text);
      expect(ids[0]).toBe(900);
      expect(tokenizer.decode(ids)).toBe(text);
      const model = { config, weights: await loadDenseWeights(config, checkpoint) };
      const experts = new LocalExperts(config, (layer, expert) => loadExpert(config, checkpoint, layer, expert), {
        maxBytes: 2 ** 24,
      });
      const cache = new KvCache(config);
      const rows = ids.map((tokenId, position) => ({ tokenId, position, cache, wantLogits: true }));
      const { logits } = await forward(model, rows, experts);
      const last = logits.at(-1)!;
      const deviation = Math.sqrt(last.reduce((sum, x) => sum + x * x, 0) / last.length);
      expect(deviation).toBeGreaterThan(0.3);
      expect(deviation).toBeLessThan(3);
    } finally {
      await checkpoint.close();
    }
  });

  it('writes fewer layers of a config that lists them, with experts in MXFP4 where it has them', async () => {
    const config = JSON.parse(await readFile(join(PUBLISHED, 'gpt-oss-20b.json'), 'utf8')) as object;
    const small = { hidden_size: 96, intermediate_size: 64, num_local_experts: 4, num_attention_heads: 2 };
    const others = { num_key_value_heads: 1, vocab_size: 600, eos_token_id: 599, pad_token_id: 598 };
    const path = join(dir, 'small-gpt-oss.json');
    await writeFile(path, JSON.stringify({ ...config, ...small, ...others }));
    const outDir = join(dir, 'gpt-oss');
    await writeRandomCheckpoint({ outDir, configPath: path, layers: 3, seed: 1, fileBytes: 1e6, sparse: false });
    const checkpoint = await openCheckpoint(outDir);
    try {
      expect(checkpoint.config.layerAttention.map(({ span }) => span.kind)).toEqual(['window', 'full', 'window']);
      const { up } = expertTensors(checkpoint.config, 2, 1);
      expect(await checkpoint.mxfp4Rows!(up, 0, 64)).toBeDefined();
    } finally {
      await checkpoint.close();
    }
  });

  it('writes the same bytes for the same seed, others for another', async () => {
    await write('b', 1);
    await write('c', 2);
    const name = (await weightFiles('a'))[0]!;
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((run) => readFile(join(dir, run, name))));
    expect(a!.equals(b!)).toBe(true);
    expect(a!.equals(c!)).toBe(false);
  });

  it('has the same sizes when sparse, with something in every tensor', async () => {
    await write('sparse', 1, true);
    const names = await weightFiles('a');
    expect(names.length).toBeGreaterThan(1);
    expect(await weightFiles('sparse')).toEqual(names);
    for (const name of names) {
      expect((await stat(join(dir, 'sparse', name))).size).toBe((await stat(join(dir, 'a', name))).size);
    }
    const checkpoint = await openCheckpoint(join(dir, 'sparse'));
    try {
      for (const tensor of checkpoint.tensors)
        expect((await checkpoint.readRaw(tensor)).some((byte) => byte !== 0)).toBe(true);
    } finally {
      await checkpoint.close();
    }
  });
});
