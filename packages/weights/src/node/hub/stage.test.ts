import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseHeader, PREFIX_BYTES, readHeaderLength } from '@shoal/model';
import { afterAll, expect, it } from 'vitest';
import { COMMIT, FakeHub, REPO, splitModel } from '../../testing/fake-hub.ts';
import { packedContents } from '../../testing/packed-contents.ts';
import { packModel } from '../pack-model.ts';
import { openSource } from '../source/open-source.ts';
import { Stage } from './stage.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../test/golden/fixtures/families');

const folder = await mkdtemp(join(tmpdir(), 'shoal-staged-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

it.each<[string, string, number, (dir: string) => Promise<void>]>([
  ['MXFP4 in stacks, by threads', 'gpt-oss-mxfp4', 1, async () => {}],
  ['stacks of plain numbers', 'llama4', 0, async () => {}],
  ['stacks that a quantiser took apart', 'llama4-text', 0, takeStacksApart],
])('%s are packed file by file to the same bytes as from a directory', async (_, fixture, threads, change) => {
  const modelDir = join(folder, fixture);
  await cp(join(FIXTURES, fixture), modelDir, { recursive: true });
  await rm(join(modelDir, 'reference.safetensors'));
  await change(modelDir);
  const modelId = 'Small-MoE';
  await packModel({ modelDir, outDir: join(folder, `${fixture}-whole`), modelId, threads: 0 });
  const hub = await FakeHub.start({ files: await splitModel(modelDir, 7) });
  try {
    const env = { ...hub.env, HF_HOME: join(folder, `${fixture}-home`) };
    const source = await openSource(`${REPO}@${COMMIT}`, { env });
    await packModel({ source, outDir: join(folder, `${fixture}-staged`), threads });
  } finally {
    await hub.close();
  }
  expect(await packedContents(join(folder, `${fixture}-staged`))).toBe(
    await packedContents(join(folder, `${fixture}-whole`)),
  );
});

it('what killed packers have left, and no job needs, is removed before the room on the disk is looked at', async () => {
  const hub = await FakeHub.start({ files: await splitModel(join(FIXTURES, 'gpt-oss-mxfp4'), 3) });
  try {
    const env = { ...hub.env, HF_HOME: join(folder, 'remains-home') };
    const outDir = join(folder, 'remains');
    const refused = async (): Promise<string> => {
      const source = await openSource(`${REPO}@${COMMIT}`, { env });
      return packModel({ source, outDir, freeBytes: async () => 0 }).then(String, String);
    };
    const first = await refused();
    expect(first).toMatch(/needs \d+ more bytes/);
    const before = await readdir(outDir, { recursive: true });
    const name = 'download/model-00001-of-00003.safetensors';
    for (const remains of [
      'shards/.tmp-1-a',
      'download/.tmp-1-b',
      `${name}.7.tensor`,
      `${name}.0123.part`,
      'download/x.body',
    ])
      await writeFile(join(outDir, remains), 'remains');
    expect(await refused()).toBe(first);
    expect(await readdir(outDir, { recursive: true })).toEqual(before);
  } finally {
    await hub.close();
  }
});

it('Stage.create has ended all of its work when it fails', async () => {
  const dir = join(folder, 'failing');
  const files = Array.from({ length: 20 }, (_, i) => ({ name: `${i}`, bytes: 100 }));
  const ends: string[] = [];
  const header = async ({ name }: { name: string }, signal: AbortSignal): Promise<Uint8Array> => {
    if (name === '3') throw new Error('the third');
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
    await delay(5);
    ends.push(name);
    throw new Error('aborted');
  };
  await expect(
    Stage.create(dir, { commit: COMMIT, fingerprint: COMMIT, metaDir: folder, files }, header),
  ).rejects.toThrow('the third');
  expect(ends.sort()).toEqual(['0', '1', '2', '4', '5', '6', '7']);
});

it('Stage.keep copies a tensor in pieces, so that it may be of any size', async () => {
  const header = async (): Promise<Uint8Array> => new Uint8Array(8);
  const files = [{ name: 'x', bytes: 2 ** 41 }];
  const stage = await Stage.create(
    join(folder, 'keep'),
    { commit: COMMIT, fingerprint: COMMIT, metaDir: folder, files },
    header,
  );
  const body = Buffer.from(Uint32Array.from({ length: 1.3e6 }, (_, i) => i).buffer);
  await writeFile(stage.bodyPath('x'), body);
  const tensor = { file: 'x', offset: 1001, bytes: 5e6 };
  await stage.keep(tensor);
  expect((await readFile(stage.keptPath(tensor))).equals(body.subarray(1001, 5_001_001))).toBe(true);
  // The body has no more than the first pieces of this one.
  const stack = { file: 'x', offset: 0, bytes: 2 ** 40 };
  await expect(stage.keep(stack)).rejects.toMatchObject({ reason: 'unreadable' });
});

/** Makes linear layers with names as in other families of Llama 4's stacks, in int8, as tools that quantise do. */
async function takeStacksApart(dir: string): Promise<void> {
  const weights = { num_bits: 8, type: 'int', strategy: 'channel', symmetric: true };
  const quantization_config = {
    quant_method: 'compressed-tensors',
    format: 'int-quantized',
    config_groups: { group_0: { targets: ['Linear'], weights } },
  };
  const config = JSON.parse(await readFile(join(dir, 'config.json'), 'utf8')) as Record<string, unknown>;
  await writeFile(join(dir, 'config.json'), JSON.stringify({ ...config, quantization_config }));
  const path = join(dir, 'model.safetensors');
  const whole = await readFile(path);
  const start = PREFIX_BYTES + readHeaderLength(whole.subarray(0, PREFIX_BYTES), whole.byteLength, path);
  const header: Record<string, unknown> = {};
  const bodies: Uint8Array[] = [];
  let end = 0;
  const add = (name: string, dtype: string, shape: readonly number[], bytes: Uint8Array): void => {
    header[name] = { dtype, shape, data_offsets: [end, (end += bytes.byteLength)] };
    bodies.push(bytes);
  };
  for (const [name, { dtype, shape, offset, bytes }] of parseHeader(
    whole.subarray(PREFIX_BYTES, start),
    whole.byteLength,
    path,
  )) {
    const [, stem, which] = /^(.*\.experts)\.(gate_up|down)_proj$/.exec(name) ?? [];
    if (stem === undefined) {
      add(name, dtype, shape, whole.subarray(offset, offset + bytes));
      continue;
    }
    // [experts, columns, rows], of which half are the gate's.
    const [experts, cols, stored] = shape as [number, number, number];
    const rows = which === 'down' ? stored : stored / 2;
    for (let expert = 0; expert < experts; expert++) {
      for (const matrix of which === 'down' ? ['down'] : ['gate', 'up']) {
        const layer = `${stem}.${expert}.${matrix}_proj.weight`;
        add(
          layer,
          'I8',
          [rows, cols],
          Uint8Array.from({ length: rows * cols }, (_, i) => (7 * i + layer.length) & 255),
        );
        add(`${layer}_scale`, 'F32', [rows, 1], new Uint8Array(new Float32Array(rows).fill(2 ** -8).buffer));
      }
    }
  }
  const text = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeBigUInt64LE(BigInt(text.byteLength));
  await writeFile(path, Buffer.concat([prefix, text, ...bodies]));
}
