import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { writeSmallModel } from '../../packages/weights/src/testing/small-model.ts';
import { keptModel } from './kept-models.ts';

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'shoal-kept-'))));
afterEach(() => rm(folder, { recursive: true }));

it('a bench’s models are made once for each content, and only the latest is kept', async () => {
  const [modelDir, cacheDir] = [join(folder, 'model'), join(folder, 'cache')];
  await writeSmallModel(modelDir);
  let made = 0;
  const keep = (quant: 'q8' | 'q4') =>
    keptModel({
      modelDir,
      quant,
      cacheDir,
      exportGguf: (out) => writeFile(out, quant),
      onMaking: () => made++,
    });
  const first = await keep('q8');
  expect(await keep('q8')).toEqual(first);
  // The packed model and its GGUF file.
  expect(made).toBe(2);
  const other = await keep('q4');
  await writeFile(join(cacheDir, 'model-q8-of-somebody'), '');
  await writeSmallModel(modelDir, 2);
  const second = await keep('q8');
  expect(second).not.toEqual(first);
  expect((await readdir(cacheDir)).sort()).toEqual(
    [
      ...[second.packed, second.gguf, other.packed, other.gguf].map((path) => basename(path)),
      'model-q8-of-somebody',
    ].sort(),
  );
});
