import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VERSION } from '../../coordinator/src/base/version.ts';
import { ROOT_DIR } from '../../coordinator/src/config.ts';
import { NOT_BUNDLED } from './bundle.ts';
import { stage } from './stage.ts';

/** As npm would lay it out, outside the checkout, so that nothing of the checkout's is found by chance. */
const folder = mkdtempSync(join(tmpdir(), 'shoal-package-'));
const installed = join(folder, 'node_modules/shoal');
const caches = join(folder, 'caches');
const env = { PATH: process.env.PATH, HOME: folder, XDG_CACHE_HOME: caches, XDG_DATA_HOME: join(folder, 'data') };

beforeAll(async () => {
  await stage(installed);
  for (const name of NOT_BUNDLED) {
    const link = join(folder, 'node_modules', name);
    await mkdir(dirname(link), { recursive: true });
    symlinkSync(join(ROOT_DIR, 'node_modules', name), link);
  }
});

const children: ChildProcess[] = [];

afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

const command = join(installed, 'bin/shoal.mjs');

function shoal(...args: string[]): string {
  return execFileSync(process.execPath, [command, ...args], { cwd: folder, env, encoding: 'utf8' });
}

/** Resolves with the coordinator's address. */
async function serve(): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(process.execPath, [command, 'serve', '--port', '0', '--data', join(folder, 'data')], {
    cwd: folder,
    env,
  });
  children.push(child);
  let errors = '';
  child.stderr!.on('data', (data: Buffer) => (errors += data.toString()));
  for await (const line of createInterface({ input: child.stdout! })) {
    const [, url] = /API +(http\S+)\/v1/.exec(line) ?? [];
    if (url !== undefined) return { child, url };
  }
  throw new Error(`the coordinator has ended: ${errors}`);
}

/** Lends the processor until there is nothing more to test, and returns what was said. */
async function lend(url: string): Promise<string> {
  const args = [command, 'donate', url, '--device', 'cpu', '--memory', '64MiB', '--yes'];
  const child = spawn(process.execPath, args, { cwd: folder, env });
  children.push(child);
  let said = '';
  let isTold = false;
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      said += data.toString();
      if (said.includes('Waiting for work') && !isTold) isTold = child.kill('SIGINT');
    });
  }
  expect(await once(child, 'exit'), said).toEqual([0, null]);
  return said;
}

describe('the package, outside the checkout', () => {
  it('tells its version', () => {
    expect(shoal('--version')).toBe(`${VERSION}\n`);
  });

  it('has no TypeScript and nothing of the tools, and names the licences of what it holds', () => {
    const files = readdirSync(installed, { recursive: true, encoding: 'utf8' });
    expect(files.filter((file) => /\.tsx?$|\.map$|\.sources$|(^|\/)tools\//.test(file))).toEqual([]);
    expect(files).toEqual(
      expect.arrayContaining(['LICENSES-THIRD-PARTY.txt', 'dist/grammar-thread.js', 'dist/thread.js']),
    );
  });

  it('serves the default model, its pages and documents, and lends a processor to it, with threads from its own files, and keeps nothing beside these', async () => {
    const before = readdirSync(installed, { recursive: true }).length;
    const { child, url } = await serve();
    expect(await (await fetch(`${url}/healthz`)).json()).toMatchObject({ status: 'up', version: VERSION });
    const response = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      // A grammar and a long prompt have threads of their own.
      body: JSON.stringify({
        prompt: 'Once upon a time there was a small boat. '.repeat(40),
        truncate_prompt_tokens: 100,
        max_tokens: 12,
        temperature: 0,
        response_format: { type: 'json_object' },
      }),
    });
    const { choices, usage } = (await response.json()) as { choices: { text: string }[]; usage: object };
    expect(choices[0]!.text).toMatch(/^\s*\{/);
    expect(usage).toMatchObject({ completion_tokens: 12 });
    for (const path of ['/', '/console', '/docs']) {
      expect((await fetch(url + path)).status, path).toBe(200);
    }
    expect(await lend(url)).toMatch(/Waiting for work.*Finishing.*Thank you/s);
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(existsSync(join(caches, 'shoal/packed'))).toBe(true);
    // The embedded database, in its own thread.
    expect(existsSync(join(folder, 'data/postgres/PG_VERSION'))).toBe(true);
    expect(readdirSync(installed, { recursive: true })).toHaveLength(before);
  });

  it('plans', () => {
    const plan = JSON.parse(
      shoal('plan', '--model', join(installed, 'models/tiny-stories'), '--bandwidth', '10GB', '--json'),
    ) as object;
    expect(plan).toMatchObject({ moeLayers: 5 });
  });
});
