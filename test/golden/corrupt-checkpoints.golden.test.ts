import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CheckpointError, createRng, ModelError } from '@shoal/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inProcess } from '../../coordinator/src/cli/in-process.ts';
import {
  configMutation,
  copyFixture,
  dataMutation,
  expectedTensors,
  headerMutation,
  indexMutation,
  type Mutation,
  readWeightsFile,
  readWholeModel,
} from './corrupt-checkpoints.ts';
import { fixtureDir } from './families.ts';

/** Three shards with an index. */
const FIXTURE = 'mixtral';
const EACH = 25;
const rng = createRng(20_261_124);

const index = JSON.parse(await readFile(join(fixtureDir(FIXTURE), 'model.safetensors.index.json'), 'utf8')) as {
  weight_map: Record<string, string>;
};
const shards = [...new Set(Object.values(index.weight_map))];
const files = await Promise.all(shards.map((shard) => readWeightsFile(fixtureDir(FIXTURE), shard)));
const anyFile = () => files[Math.floor(rng() * files.length)]!;
const times = (make: () => Mutation): Mutation[] => Array.from({ length: EACH }, make);
const mutations = [
  ...times(() => configMutation(rng, shards)),
  ...times(() => indexMutation(rng, index.weight_map)),
  ...times(() => headerMutation(rng, anyFile())),
  ...times(() => dataMutation(rng, anyFile())),
].map((mutation, i) => ({ ...mutation, i }));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-corrupt-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function damaged({ i, apply }: (typeof mutations)[number]): Promise<string> {
  const dir = join(folder, `${i}`);
  await copyFixture(FIXTURE, dir);
  await apply(dir);
  return dir;
}

describe('a damaged model directory', () => {
  it('was whole before', async () => {
    await readWholeModel(fixtureDir(FIXTURE));
    expect((await expectedTensors(FIXTURE)).sort()).toEqual(Object.keys(index.weight_map).sort());
  });

  it.each(mutations)('$i is refused, file and place named: $what', async (mutation) => {
    const dir = await damaged(mutation);
    const error = await readWholeModel(dir).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(error instanceof ModelError || error instanceof CheckpointError ? error.name : error).toMatch(/Error$/);
    const { message } = error as Error;
    expect(mutation.files.filter((file) => message.includes(file))).not.toEqual([]);
    expect(
      mutation.names.filter((name) => message.includes(name)),
      message,
    ).not.toEqual([]);
  });

  it.each(mutations.filter(({ i }) => i % 10 === 0))('$i is not served: $what', async (mutation) => {
    const dir = join(folder, `${mutation.i}`);
    let stderr = '';
    let stdout = '';
    const io = {
      stdout: { write: (text: string) => (stdout += text) },
      stderr: { write: (text: string) => (stderr += text) },
    };
    // A text this long reads the weights of all experts.
    const text = 'the rain in the tin can ran and ran';
    const argv = ['--model', dir, '--engine', 'reference', '--prompt', text, '--max-tokens', '8'];
    expect(await inProcess.generate(argv, io)).toBe(1);
    expect(stdout).toBe('');
    expect(mutation.names.some((name) => stderr.includes(name))).toBe(true);
  });
});
