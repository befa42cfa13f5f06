import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { openPacked, packModel } from '@shoal/weights/node';
import { afterAll, expect, it, vi } from 'vitest';
import { inProcess } from '../../coordinator/src/cli/in-process.ts';
import { runPack } from '../../coordinator/src/cli/pack.ts';
import { runPlan } from '../../coordinator/src/cli/plan.ts';
import { defaultConfig, startCoordinator } from '../../coordinator/src/index.ts';
import { FakeHub, type HubRequest, REPO, splitModel } from '../../packages/weights/src/testing/fake-hub.ts';
import { writeGgufParts, writeSmallCheckpoint } from '../../packages/weights/src/testing/small-gguf.ts';

// What people type as --model, from a hub on this machine: the smallest model through the commands themselves.

const folder = await mkdtemp(join(tmpdir(), 'shoal-by-name-'));
const modelDir = await writeSmallCheckpoint(folder);
const files = await splitModel(modelDir, 3);
const small = [...files].filter(([name]) => !name.startsWith('model'));
const whole = await readFile(join(modelDir, 'model.safetensors'));
const hub = await FakeHub.start({ files });
vi.stubEnv('HF_ENDPOINT', hub.url);
vi.stubEnv('HF_HOME', join(folder, 'home'));
vi.stubEnv('HF_HUB_OFFLINE', '');
afterAll(async () => {
  vi.unstubAllEnvs();
  await hub.close();
  await rm(folder, { recursive: true, force: true });
});

async function run(command: typeof runPack, ...argv: string[]) {
  const result = { code: 0, stdout: '', stderr: '' };
  result.code = await command(argv, {
    stdout: { write: (text) => (result.stdout += text) },
    stderr: { write: (text) => (result.stderr += text) },
  });
  return result;
}

it.each([
  ['in files with an index', REPO, files],
  ['in one file', 'some-org/Single', new Map([...small, ['model.safetensors', whole]])],
])('shoal plan takes the name of a model %s, and fetches no weights; offline it needs no hub', async (_, repo, of) => {
  Object.assign(hub.options, { repo, files: of });
  hub.sentBytes = 0;
  const plan = () => run(runPlan, '--model', repo, '--bandwidth', '10GB', '--json');
  const first = await plan();
  expect([first.code, first.stderr]).toEqual([0, '']);
  const sizes = [...of].flatMap(([name, { length }]) => (name.endsWith('.safetensors') ? [length] : []));
  const totalBytes = sizes.reduce((sum, bytes) => sum + bytes);
  expect(JSON.parse(first.stdout)).toMatchObject({
    hub: { files: sizes.length, totalBytes, missingBytes: totalBytes },
  });
  // A header comes with what follows it, up to 256 KiB.
  expect(hub.sentBytes).toBeLessThan(0.5 * totalBytes);
  const asked = hub.requests.length;
  vi.stubEnv('HF_HUB_OFFLINE', '1');
  expect(await plan()).toEqual(first);
  expect(hub.requests).toHaveLength(asked);
  vi.stubEnv('HF_HUB_OFFLINE', '');
  Object.assign(hub.options, { repo: REPO, files });
});

it('shoal pack ends at Ctrl-C during a download, and the same command goes on within the file', async () => {
  const name = 'model-00002-of-00003.safetensors';
  const out = join(folder, 'packed');
  const stopWhenKept = async (): Promise<void> => {
    const kept = async (): Promise<number> => {
      const part = (await readdir(join(out, 'download'))).find((one) => one.endsWith('.part'));
      return part === undefined ? 0 : (await stat(join(out, 'download', part))).size;
    };
    while ((await kept()) < 5000) await delay(2);
    process.emit('SIGINT');
  };
  hub.options.fault = (request: HubRequest, response: ServerResponse) => {
    // The first request is for the header.
    if (request.kind !== 'store' || request.name !== name || request.count !== 2) return false;
    response.writeHead(200, { 'content-length': files.get(name)!.length });
    response.write(files.get(name)!.subarray(0, 5000));
    void stopWhenKept();
    return true;
  };
  const argv = ['--model', REPO, '--out', out, '--quant', 'q8', '--threads', '0'];
  expect(await run(runPack, ...argv)).toMatchObject({
    code: 130,
    stderr: expect.stringMatching(/interrupted; run again to/) as string,
  });
  expect(await run(runPack, ...argv)).toMatchObject({ code: 0 });
  const ranges = hub.requests.filter((one) => one.name === name).map(({ range }) => range);
  expect(ranges.at(-1)).toBe(`bytes=5000-${files.get(name)!.length - 1}`);
  const { manifest } = await openPacked(out);
  const expected = await packModel({ modelDir, outDir: join(folder, 'expected'), quant: 'q8', modelId: 'Small-MoE' });
  expect(manifest.modelDigest).toBe(expected.modelDigest);
});

it('shoal serve answers from a name as the split GGUF file of the same model does when it is packed', async () => {
  const gguf = await writeGgufParts(modelDir, join(folder, 'parts'), 2);
  const packed = join(folder, 'packed-gguf');
  expect(await run(runPack, '--model', gguf, '--out', packed, '--quant', 'q8')).toMatchObject({ code: 0 });
  const prompt = [1, 2, 3];
  const flags = ['--model', packed, '--ids', prompt.join(), '--max-tokens', '5', '--json'];
  const { ids } = JSON.parse((await run(inProcess.generate, ...flags)).stdout) as { ids: number[] };
  expect(ids).toHaveLength(5);
  const config = { model: REPO, cacheDir: join(folder, 'cache'), quant: 'q8', port: 0, logLevel: 'silent' } as const;
  const coordinator = await startCoordinator(defaultConfig(config));
  try {
    const body = { model: REPO, prompt, max_tokens: 5, temperature: 0, return_token_ids: true };
    const answer = await fetch(`${coordinator.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const { choices } = (await answer.json()) as { choices: { token_ids: number[] }[] };
    expect(choices[0]!.token_ids).toEqual(ids);
  } finally {
    await coordinator.close();
  }
});
