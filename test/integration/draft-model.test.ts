import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseHeader, PREFIX_BYTES, readHeaderLength, type TokenAnswer } from '@shoal/model';
import { packModel } from '@shoal/weights/node';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Config, type Core, createCore, defaultConfig } from '../../coordinator/src/index.ts';
import type {
  GenerationEvent,
  GenerationRequest,
  SpeculationUsage,
} from '../../coordinator/src/scheduler/generation.ts';
import { fixtureDir } from '../golden/families.ts';
import { putLapsOnClock } from './laps-on-clock.ts';

const DENSE = fixtureDir('llama-linear');

let folder: string;
let core: Core;

/**
 * Writes a Mixtral whose experts are all the FFN of the dense model, so that it computes what that computes up to rounding: the
 * chosen ones' weights add up to one.
 */
async function writeMixtral(dir: string): Promise<void> {
  await cp(DENSE, dir, { recursive: true });
  const config = JSON.parse(await readFile(join(DENSE, 'config.json'), 'utf8')) as Record<string, unknown>;
  const experts = { num_local_experts: 3, num_experts_per_tok: 2 };
  const named = { architectures: ['MixtralForCausalLM'], model_type: 'mixtral' };
  await writeFile(join(dir, 'config.json'), JSON.stringify({ ...config, ...named, ...experts }));
  const file = await readFile(join(DENSE, 'model.safetensors'));
  const headerBytes = readHeaderLength(file.subarray(0, PREFIX_BYTES), file.byteLength, DENSE);
  const table = parseHeader(file.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes), file.byteLength, DENSE);
  const matrices: Record<string, string> = { gate_proj: 'w1', up_proj: 'w3', down_proj: 'w2' };
  const header: Record<string, object> = {};
  const data: Uint8Array[] = [];
  let end = 0;
  const add = (name: string, dtype: string, shape: readonly number[], bytes: Uint8Array): void => {
    header[name] = { dtype, shape, data_offsets: [end, (end += bytes.byteLength)] };
    data.push(bytes);
  };
  for (const [name, { dtype, shape, offset, bytes }] of table) {
    const part = file.subarray(offset, offset + bytes);
    const matrix = /^(.*)\.mlp\.(\w+)\.weight$/.exec(name);
    if (!matrix) {
      add(name, dtype, shape, part);
      continue;
    }
    const moe = `${matrix[1]}.block_sparse_moe`;
    for (let expert = 0; expert < experts.num_local_experts; expert++)
      add(`${moe}.experts.${expert}.${matrices[matrix[2]!]}.weight`, dtype, shape, part);
    if (matrix[2] !== 'gate_proj') continue;
    const gate = Float32Array.from({ length: experts.num_local_experts * shape[1]! }, (_, i) => Math.sin(i));
    add(`${moe}.gate.weight`, 'F32', [experts.num_local_experts, shape[1]!], new Uint8Array(gate.buffer));
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(PREFIX_BYTES);
  length.writeBigUInt64LE(BigInt(text.length));
  await writeFile(join(dir, 'model.safetensors'), Buffer.concat([length, text, ...data]));
}

const configOf = (more: Partial<Config> = {}): Config =>
  defaultConfig({
    model: join(folder, 'moe'),
    quant: 'f16',
    cacheDir: join(folder, 'cache'),
    draftModel: DENSE,
    ...more,
  });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-draft-model-'));
  await writeMixtral(join(folder, 'moe'));
  core = await createCore(configOf());
  putLapsOnClock(core);
});
afterAll(async () => {
  await core.close();
  await rm(folder, { recursive: true });
});
beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

let requests = 0;

async function generate(promptIds: readonly number[], more: Partial<GenerationRequest> = {}) {
  const { signal } = new AbortController();
  const asked = { temperature: 0, topP: 1, seed: 1, maxTokens: 24, topLogprobs: 2, ignoreEos: true, ...more };
  const tokens: TokenAnswer[] = [];
  let usage: SpeculationUsage | undefined;
  const request = { id: `request ${requests++}`, promptIds, signal, ...asked };
  for await (const event of core.scheduler.submit(request) as AsyncIterable<GenerationEvent>) {
    if (event.type === 'finish') usage = event.speculation;
    if (event.type !== 'token') continue;
    const { tokenId, logprob, topLogprobs } = event.token;
    tokens.push({ tokenId, ...(logprob !== undefined && { logprob }), ...(topLogprobs && { topLogprobs }) });
  }
  return { tokens, usage };
}

const promptOf = (seed: number, length = 24): number[] =>
  Array.from({ length }, (_, i) => 4 + ((i * i * seed + 7 * i) % 40));

describe('a draft model beside a small MoE', () => {
  it('changes no bit of greedy and sampled answers, alone and together, and saves most passes', async () => {
    const settings = [
      {},
      { temperature: 1.3, topK: 20, seed: 5 },
      { temperature: 1, repetitionPenalty: 1.1, logitBias: new Map([[9, 2]]), maxTokens: 40 },
    ];
    const asked = settings.map((more, i): [number[], Partial<GenerationRequest>] => [promptOf(i + 1), more]);
    const plain = [];
    for (const [ids, more] of asked) plain.push(await generate(ids, { ...more, speculate: false }));
    const alone = await generate(...asked[0]!);
    const drafted = await Promise.all(asked.map(([ids, more]) => generate(ids, more)));
    for (const [i, { tokens }] of [...drafted, alone].entries()) expect(tokens).toEqual(plain[i % 3]!.tokens);
    expect(alone.usage!.passes).toBeLessThan(24 / 2);
    const counts = core.scheduler.speculation.counts['draft-model'];
    expect(counts.accepted[3]! / counts.drafted[3]!).toBeGreaterThan(0.1);
  });

  it('reads what an earlier text had alike only once, and gives its memory back', async () => {
    const [ids, longer] = [promptOf(9, 60), [...promptOf(9, 60), ...promptOf(2, 8)]];
    const plain = await generate(longer, { speculate: false });
    await generate(ids);
    await vi.waitFor(() => expect(core.draftModel!.kvBytes().inUse).toBe(0));
    expect(core.draftModel!.kvBytes().kept).toBeGreaterThan(0);
    const again = await generate(longer);
    expect(again.tokens).toEqual(plain.tokens);
    expect(again.usage!.passes).toBeLessThan(24 / 2);
  });

  it('is packed beside the main model, without experts', () => {
    expect(core.draftModel).toMatchObject({ modelId: 'llama-linear', engine: { config: { modelType: 'llama' } } });
    expect(core.localLayers.mtp).toBeUndefined();
  });
});

describe('a model that does not fit', () => {
  const refused = (more: Partial<Config>, message: RegExp) =>
    expect(createCore(configOf(more))).rejects.toThrow(message);

  it('is refused by what differs', async () => {
    await refused(
      { draftModel: fixtureDir('dots1') },
      /--draft-model .*dots1 has routed experts \(dots1\), and a draft/,
    );
    await refused({ model: fixtureDir('mixtral') }, /has a vocabulary of 48 tokens, and mixtral one of 112/);
    const other = join(folder, 'other');
    await cp(DENSE, other, { recursive: true });
    const tokenizer = await readFile(join(DENSE, 'tokenizer.json'), 'utf8');
    const { added_tokens } = JSON.parse(tokenizer) as { added_tokens: { id: number; content: string }[] };
    const { id, content } = added_tokens.at(-1)!;
    await writeFile(join(other, 'tokenizer.json'), tokenizer.replaceAll(JSON.stringify(content), '"<|new|>"'));
    await writeFile(join(other, 'tokenizer_config.json'), '{}');
    await refused(
      { draftModel: other },
      new RegExp(`another tokenizer than moe: token ${id} is "<\\|new\\|>", and not`),
    );
    await refused({ draftModel: join(folder, 'cache') }, /--draft-model: /);
  });

  it('is refused as the one to serve where it is dense, packed or not', async () => {
    const packed = join(folder, 'packed');
    await packModel({ modelDir: fixtureDir('llama'), outDir: packed, quant: 'f16' });
    await refused({ model: packed }, /is a dense model \(llama\)/);
    await refused({ draftModel: packed, draftQuant: 'q4' }, /packed is packed as f16: leave --draft-quant q4 out/);
    const other = await createCore(configOf({ draftModel: packed, engine: 'reference' }));
    expect(other.draftModel).toMatchObject({ modelId: 'llama', engine: { name: 'reference' } });
    await other.close();
    await refused(
      { model: DENSE },
      /llama-linear is a dense model \(llama\): it has no routed experts that tabs could hold/,
    );
  });

  it('is refused beside options that leave it nothing to do', async () => {
    await refused({ speculate: 'lookup' }, /--draft-model drafts with --speculate auto only/);
    await refused({ mtpExperts: 'local' }, /--mtp-experts local: the MTP module does not draft beside --draft-model/);
  });
});
