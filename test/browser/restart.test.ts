import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { ROOT_DIR } from '../../coordinator/src/config.ts';
import { DonorBrowser } from '../../tools/browser/donor-tabs.ts';
import { CACHE_DIR } from '../integration/golden.ts';
import { connectChromium } from './shared-chromium.ts';

const running: ChildProcess[] = [];
let browser: DonorBrowser | undefined;

afterEach(async () => {
  await browser?.close();
  for (const child of running.splice(0)) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** The coordinator as an operator runs it: a process of its own. */
async function serve(port: number): Promise<ChildProcess> {
  const args = [
    '--port',
    String(port),
    '--cache',
    CACHE_DIR,
    '--database',
    'none',
    '--drain-timeout',
    '1',
    '--admin-token',
    'test-admin-token',
  ];
  const main = join(ROOT_DIR, 'coordinator/src/cli/main.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', main, 'serve', ...args], {
    cwd: ROOT_DIR,
    stdio: 'ignore',
  });
  running.push(child);
  await expect.poll(() => readiness(port).then((state) => state?.ready), { timeout: 60_000 }).toBe(true);
  return child;
}

async function readiness(
  port: number,
): Promise<{ ready: boolean; tabs: number; uncoveredExperts: number } | undefined> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`);
    return (await response.json()) as { ready: boolean; tabs: number; uncoveredExperts: number };
  } catch {
    return undefined;
  }
}

const served = (port: number) =>
  expect
    .poll(() => readiness(port), { timeout: 120_000, interval: 200 })
    .toMatchObject({ tabs: 2, uncoveredExperts: 0 });

async function metric(port: number, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

it('DonorSession: a coordinator that restarts in mid-answer ends the stream with an error, and its tabs come back with what they have', async () => {
  const port = await freePort();
  const first = await serve(port);
  browser = new DonorBrowser(await connectChromium());
  await browser.open(`http://127.0.0.1:${port}`, 64, 'cpu');
  await browser.open(`http://127.0.0.1:${port}`, 64, 'cpu');
  await served(port);
  expect(await metric(port, 'shoal_shard_downloads_total')).toBe(320);

  const response = await fetch(`http://127.0.0.1:${port}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'tiny-stories',
      prompt: 'Once',
      max_tokens: 500,
      temperature: 1,
      stream: true,
      seed: 5,
    }),
  });
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  let text = decoder.decode((await reader.read()).value);
  first.kill('SIGTERM');
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) text += decoder.decode(chunk.value);
  const events = text.split('\n').filter((line) => line.startsWith('data: '));
  if (first.exitCode === null) await once(first, 'exit');
  expect(JSON.parse(events.at(-1)!.slice('data: '.length))).toMatchObject({
    error: { message: expect.stringMatching(/shut/) },
  });
  expect(events).not.toContain('data: [DONE]');
  expect(first.exitCode).toBe(0);

  await serve(port);
  await served(port);
  // A new process counts from 0: the weights came from the browser's storage.
  expect(await metric(port, 'shoal_shard_downloads_total')).toBe(0);
});
