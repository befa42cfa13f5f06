import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseHeader, PREFIX_BYTES, readHeaderLength } from '@shoal/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inProcess } from './in-process.ts';

const root = join(import.meta.dirname, '../../..');
const model = join(root, 'models/tiny-stories');
const fixtures = join(root, 'test/golden/fixtures');

interface GoldenCase {
  prompt: string;
  prompt_ids: number[];
  greedy_ids: number[];
  greedy_text: string;
  last_logits: number[];
}

let golden: GoldenCase;
let dir: string;
beforeAll(async () => {
  golden = (JSON.parse(await readFile(join(fixtures, 'tiny-stories.json'), 'utf8')) as GoldenCase[])[0]!;
  dir = await mkdtemp(join(tmpdir(), 'shoal-local-'));
});
afterAll(() => rm(dir, { recursive: true }));

type Command = keyof typeof inProcess;

async function run(command: Command, ...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const code = await inProcess[command](argv, {
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
  });
  return { code, out, err };
}

describe('shoal generate', () => {
  it('continues a text greedily with the golden ids, as text or as one JSON document', async () => {
    const argv = ['--model', model, '--prompt', golden.prompt, '--max-tokens', '24'];
    const text = await run('generate', ...argv);
    expect(text.code).toBe(0);
    const json = await run('generate', ...argv, '--json');
    const answer = JSON.parse(json.out) as { ids: number[]; prompt_ids: number[]; text: string; finish_reason: string };
    expect(answer.ids).toEqual(golden.greedy_ids.slice(0, 24));
    expect(answer.prompt_ids).toEqual(golden.prompt_ids);
    expect(answer.finish_reason).toBe('length');
    expect(golden.greedy_text.startsWith(answer.text)).toBe(true);
    expect(text.out).toBe(`${answer.text}\n`);
    expect(json.err).toContain('24 tokens in');
  });

  it('takes ids as they are, and a file as text', async () => {
    const path = join(dir, 'prompt.txt');
    await writeFile(path, golden.prompt);
    const flags = ['--model', model, '--max-tokens', '4', '--json'];
    const ids = await run('generate', ...flags, '--ids', golden.prompt_ids.join(', '));
    const file = await run('generate', ...flags, '--prompt-file', path);
    expect(ids.code).toBe(0);
    expect(file.out).toBe(ids.out);
  });

  it('gives the same text for the same seed and another for another', async () => {
    const flags = [
      '--model',
      model,
      '--prompt',
      'The',
      '--max-tokens',
      '16',
      '--temperature',
      '1.5',
      '--top-p',
      '0.95',
      '--json',
    ];
    const one = await run('generate', ...flags, '--seed', '7');
    expect(await run('generate', ...flags, '--seed', '7')).toMatchObject({ code: 0, out: one.out });
    expect((await run('generate', ...flags, '--seed=-8')).out).not.toBe(one.out);
  });
});

describe('shoal logits', () => {
  it('writes raw little-endian float32, [positions, vocab]', async () => {
    const path = join(dir, 'logits.f32');
    const result = await run('logits', '--model', model, '--ids', golden.prompt_ids.join(), '--out', path, '--json');
    expect(JSON.parse(result.out)).toMatchObject({ dtype: 'f32le', shape: [golden.prompt_ids.length, 2048] });
    const bytes = await readFile(path);
    expect(bytes.byteLength).toBe(golden.prompt_ids.length * 2048 * 4);
    const last = (golden.prompt_ids.length - 1) * 2048;
    for (const token of [0, 1, 404, 2047])
      expect(bytes.readFloatLE((last + token) * 4)).toBeCloseTo(golden.last_logits[token]!, 3);
  });

  it('says so when the file cannot be written', async () => {
    const path = join(dir, 'missing', 'logits.f32');
    const result = await run('logits', '--model', model, '--ids', '1', '--out', path);
    expect(result.code).toBe(1);
    expect(result.err).toContain(path);
  });

  // Numbers in BF16 that are finite, as what is computed with them is not: 3e38, and 2^126 by which 100 is multiplied.
  it.each([
    [
      { 'model.layers.1.post_attention_layernorm.weight': 0x7f61 },
      /: the input of the experts of layer 1,.* is NaN or beyond/,
    ],
    [
      { 'model.norm.weight': 0x7e80, 'lm_head.weight': 0x42c8 },
      /: logits hold NaN at token 0: a weight of the output head is damaged/,
    ],
  ])('fails with the cause where numbers are too large (%o)', async (weights, cause) => {
    const damaged = await mkdtemp(join(dir, 'damaged-'));
    await cp(join(fixtures, 'families/qwen3-moe'), damaged, { recursive: true });
    const path = join(damaged, 'model.safetensors');
    const file = await readFile(path);
    const headerBytes = readHeaderLength(file.subarray(0, PREFIX_BYTES), file.byteLength, path);
    const table = parseHeader(file.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes), file.byteLength, path);
    for (const [name, value] of Object.entries(weights)) {
      const { offset, bytes } = table.get(name)!;
      for (let at = offset; at < offset + bytes; at += 2) file.writeUInt16LE(value, at);
    }
    await writeFile(path, file);
    const failed = await run('logits', '--model', damaged, '--ids', '1,2,3', '--out', join(dir, 'damaged.bin'));
    expect(failed.code).toBe(1);
    expect(failed.err).toMatch(cause);
  });
});

describe('shoal perplexity --device-limit', () => {
  let files = 0;
  async function placementOf(tabs: unknown): Promise<string> {
    const path = join(dir, `placement-${files++}.json`);
    await writeFile(path, JSON.stringify(tabs));
    return path;
  }
  const layers = [1, 2, 3, 4, 5];
  const half = (from: number) =>
    Object.fromEntries(layers.map((layer) => [layer, Array.from({ length: 16 }, (_, i) => from + i)]));

  it('says what a limit costs, and that one as wide as the placement costs nothing', async () => {
    const file = await placementOf('Once upon a time there was a small boat. It was red and it had a sail.');
    const placement = await placementOf({ tabs: { a: half(0), b: half(16) } });
    const args = ['--model', model, '--file', file, '--placement', placement, '--json'];
    const one = JSON.parse((await run('perplexity', ...args, '--device-limit', '1')).out);
    expect(one.deviceLimit.changed).toBeGreaterThan(0);
    expect(one.deviceLimit.changed).toBeLessThanOrEqual(one.deviceLimit.tokenLayers);
    expect(one.deviceLimit.perplexity).not.toBe(one.perplexity);
    const two = JSON.parse((await run('perplexity', ...args, '--device-limit', '2')).out);
    expect(two.deviceLimit).toMatchObject({ changed: 0, perplexity: two.perplexity, costPercent: 0 });
  });

  it.each([
    ['a limit without a placement', ['--device-limit', '2'], '--placement'],
    ['a limit of 0', ['--device-limit', '0', '--placement', 'x'], '--device-limit'],
  ])('refuses %s', async (_, flags, named) => {
    const result = await run('perplexity', '--model', model, '--file', 'x', ...flags);
    expect(result.code).toBe(2);
    expect(result.err).toContain(named);
  });

  it.each([
    ['no tabs', {}],
    ['an expert that is not there', { tabs: { a: { 1: [99] } } }],
    ['a layer that is not there', { tabs: { a: { 77: [1] } } }],
  ])('refuses a placement with %s', async (_, content) => {
    const placement = await placementOf(content);
    const file = await placementOf('Once');
    const flags = ['--file', file, '--device-limit', '1', '--placement', placement];
    const result = await run('perplexity', '--model', model, ...flags);
    expect(result.code).toBe(2);
    expect(result.err).toContain(placement);
  });
});

describe('shoal perplexity', () => {
  it('scores documents by the convention of the fixtures', async () => {
    const all = await readFile(join(fixtures, 'held-out.txt'), 'utf8');
    const expected = JSON.parse(await readFile(join(fixtures, 'held-out.perplexity.json'), 'utf8')) as {
      documents: { tokens: number; nll: number }[];
    };
    const path = join(dir, 'two.txt');
    await writeFile(path, all.split('<|endoftext|>').slice(0, 2).join('<|endoftext|>'));
    const [first, second] = expected.documents;
    const score = JSON.parse(
      (await run('perplexity', '--engine', 'reference', '--model', model, '--file', path, '--json')).out,
    ) as Record<string, number>;
    expect(score['documents']).toBe(2);
    expect(score['tokens']).toBe(first!.tokens + second!.tokens);
    expect(score['nll']).toBeCloseTo(first!.nll + second!.nll, 3);
    expect(score['perplexity']).toBeCloseTo(Math.exp(score['nll']! / score['tokens']!), 10);
  });

  it('refuses a text without a document', async () => {
    const path = join(dir, 'empty.txt');
    await writeFile(path, ' \n<|endoftext|>\n');
    const result = await run('perplexity', '--model', model, '--file', path);
    expect(result.code).toBe(1);
    expect(result.err).toContain('no document');
  });
});

describe('wrong usage', () => {
  it.each<[Command, string[], string]>([
    ['generate', ['--prompt', 'x'], '--model'],
    ['generate', ['--model', model], '--prompt'],
    ['generate', ['--model', model, '--prompt', 'x', '--ids', '1'], 'exclude'],
    ['generate', ['--model', model, '--ids', '1,two'], '"two"'],
    ['generate', ['--model', model, '--ids', '1,2048'], '2048'],
    ['generate', ['--model', model, '--ids', ''], '--ids'],
    ['generate', ['--model', model, '--prompt', 'x', '--max-tokens', '0'], '--max-tokens'],
    ['generate', ['--model', model, '--prompt', 'x', '--temperature', 'hot'], '--temperature'],
    ['generate', ['--model', model, '--prompt', 'x', '--top-p', '1.1'], '--top-p'],
    ['generate', ['--model', model, '--prompt', 'x', '--seed', '1.5'], '--seed'],
    ['generate', ['--model', model, '--prompt', 'x', '--tabs', '4'], '--tabs'],
    ['generate', ['--model', model, '--prompt', 'x', 'stray'], 'stray'],
    ['perplexity', ['--model', model], '--file'],
    ['logits', ['--model', model, '--prompt', 'x'], '--out'],
  ])('%s %j exits with 2 and names what is wrong', async (command, argv, named) => {
    const result = await run(command, ...argv);
    expect(result.code).toBe(2);
    expect(result.out).toBe('');
    expect(result.err).toContain(named);
    expect(result.err).toContain('--help');
  });

  it('names the path of a model (wrong usage) or a file that is not there', async () => {
    const missing = join(dir, 'no-model');
    expect(await run('generate', '--model', missing, '--prompt', 'x')).toMatchObject({
      code: 2,
      err: expect.stringContaining(missing),
    });
    const file = join(dir, 'no-text.txt');
    expect(await run('perplexity', '--model', model, '--file', file)).toMatchObject({
      code: 1,
      err: expect.stringContaining(file),
    });
  });

  it('refuses a prompt longer than the context', async () => {
    const result = await run('generate', '--model', model, '--ids', Array(512).fill(5).join());
    expect(result.code).toBe(1);
    expect(result.err).toContain('512 tokens');
  });

  it.each<Command>(['generate', 'perplexity', 'logits'])('%s --help prints its usage on stdout', async (command) => {
    const result = await run(command, '--help');
    expect(result).toMatchObject({ code: 0, err: '' });
    expect(result.out).toContain(`usage: shoal ${command}`);
  });
});
