import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadGenerationConfig, loadTokenizer, openCheckpoint } from '@shoal/model/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inProcess } from '../../coordinator/src/cli/in-process.ts';
import { familyFixtures, fixtureDir, openFamily } from './families.ts';
import { nmse } from './tiny-stories.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-families-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** What a command printed to stdout, as JSON. */
async function shoal(
  command: keyof typeof inProcess,
  name: string,
  ...argv: string[]
): Promise<Record<string, unknown>> {
  let stdout = '';
  let stderr = '';
  const io = {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
  };
  const code = await inProcess[command](['--model', fixtureDir(name), '--engine', 'reference', '--json', ...argv], io);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as Record<string, unknown>;
}

describe.each(familyFixtures)('shoal on %s', (name) => {
  it('generates, scores and writes logits as the reference does', async () => {
    const { config, logits, reference } = await openFamily(name);
    const { prompt_ids: prompt, ids } = reference.greedy[0]!;
    const answer = await shoal('generate', name, '--ids', prompt.join(), '--max-tokens', `${ids.length}`);
    expect(answer).toMatchObject({ ids, finish_reason: 'length' });

    const file = join(folder, `${name}.txt`);
    await writeFile(file, reference.perplexity.text);
    const { nll, tokens } = await shoal('perplexity', name, '--file', file);
    expect(tokens).toBe(reference.perplexity.tokens);
    expect((nll as number) / reference.perplexity.nll).toBeCloseTo(1, 5);

    const out = join(folder, `${name}.f32`);
    const first = reference.sequences[0]!;
    await shoal('logits', name, '--ids', first.join(), '--out', out);
    const bytes = await readFile(out);
    const written = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    expect(nmse(written, logits.subarray(0, first.length * config.vocabSize))).toBeLessThanOrEqual(1e-8);
  });
});

describe('what a model directory says', () => {
  const open = async (name: string) => {
    const checkpoint = await openCheckpoint(fixtureDir(name));
    await checkpoint.close();
    return checkpoint.config;
  };

  it('ends answers by a list of tokens, of config.json or generation_config.json', async () => {
    expect((await open('mixtral')).eosTokenIds).toEqual([1, 3]);
    expect((await open('qwen3-moe')).eosTokenIds).toEqual([1]);
    const suggested = await loadGenerationConfig(fixtureDir('qwen3-moe'));
    expect(suggested).toEqual({ doSample: true, temperature: 0.6, topP: 0.95, eosTokenIds: [1, 3] });
  });

  it('shares the embedding with the head where they are tied', async () => {
    for (const name of ['qwen3-moe-yarn', 'deepseek-v2-normalised']) {
      expect((await open(name)).tieWordEmbeddings).toBe(true);
      const checkpoint = await openCheckpoint(fixtureDir(name));
      expect(checkpoint.tensors.includes('lm_head.weight')).toBe(false);
      await checkpoint.close();
    }
  });

  it.each([
    ['tokenizer_config.json', 'deepseek-v3'],
    ['chat_template.jinja', 'qwen3-moe'],
  ])('writes a chat by the template in %s', async (_, name) => {
    const { chatTemplate } = await loadTokenizer(fixtureDir(name));
    expect(chatTemplate!.renderChat([{ role: 'user', content: 'the hen' }])).toBe(
      '<|im_start|>user\nthe hen<|im_end|>\n<|im_start|>assistant\n',
    );
  });

  it('begins prompts with a token only where the tokenizer is told to', async () => {
    expect((await loadTokenizer(fixtureDir('mixtral'))).encodePrompt('the')).toEqual([0, 101]);
    expect((await loadTokenizer(fixtureDir('olmoe'))).encodePrompt('the')).toEqual([101]);
    expect((await open('olmoe')).bosTokenId).toBeNull();
  });
});
