import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTypescriptThread } from './typescript-thread.ts';

let folder: string;

beforeAll(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'shoal-thread-')), 'src');
  await mkdir(folder);
});

afterAll(() => rm(join(folder, '..'), { recursive: true }));

async function moduleOf(name: string, source: string): Promise<URL> {
  await writeFile(join(folder, name), source);
  return pathToFileURL(join(folder, name));
}

it('runs a TypeScript module with its data, answers what was sent before its program came, and knows its folder', async () => {
  await moduleOf('twice.ts', `export const twice = (value: number): number => 2 * value;`);
  const module = await moduleOf(
    'thread.ts',
    `import { parentPort, workerData } from 'node:worker_threads';
     import { twice } from './twice.ts';
     const { of } = workerData as { of: number };
     parentPort!.once('message', (more: number) => parentPort!.postMessage([twice(of) + more, import.meta.dirname]));`,
  );
  const thread = startTypescriptThread(module, { of: 20 });
  thread.postMessage(2);
  expect((await once(thread, 'message'))[0]).toEqual([42, folder]);
});

it.each([
  ['cannot be parsed', 'const = 1;', /Expected identifier/],
  ['throws', 'throw new RangeError("of its own");', /of its own/],
])('ends with the reason where the module %s', async (name, source, reason) => {
  const thread = startTypescriptThread(await moduleOf(`${name.replaceAll(' ', '-')}.ts`, source), {});
  const [error] = (await once(thread, 'error')) as [Error];
  expect(error.message).toMatch(reason);
});
