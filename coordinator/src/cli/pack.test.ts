import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPacked } from '@shoal/weights/node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ROOT_DIR } from '../config.ts';
import { runPack } from './pack.ts';

const MODEL = join(import.meta.dirname, '../../../models/tiny-stories');
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-cli-pack-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function run(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  let stdout = '';
  let stderr = '';
  const code = await runPack(argv, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
  });
  return { code, stdout, stderr };
}

describe('shoal pack', () => {
  it('packs, shows progress on stderr and one JSON document on stdout', async () => {
    const out = join(folder, 'out');
    const { code, stdout, stderr } = await run('--model', MODEL, '--out', out, '--quant', 'q8', '--verify', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      modelId: 'tiny-stories',
      experts: 192,
      verified: true,
      modelDigest: (await openPacked(out)).manifest.modelDigest,
    });
    expect(stderr).toMatch(/packing 100 % \(([\d.]+ MiB) of \1, [\d.]+ [KMG]?i?B\/s, 0 s left\)/);
    expect(stderr).toContain('checking 100 %');
  });

  it('stops on Ctrl-C, and goes on when run again', async () => {
    const argv = ['--model', MODEL, '--out', join(folder, 'out'), '--quant', 'f16'];
    const interrupted = runPack(argv, {
      stdout: process.stdout,
      stderr: { write: (text) => text.includes('packing') && process.emit('SIGINT') },
    });
    expect(await interrupted).toBe(130);
    expect(process.listenerCount('SIGINT')).toBe(0);
    expect((await run(...argv)).code).toBe(0);
  });

  it('reports errors by kind of tensor, and checks what was packed before', async () => {
    const out = join(folder, 'out');
    const packed = await run('--model', MODEL, '--out', out, '--quant', 'q4', '--dense-quant', 'q8', '--report');
    expect(packed.stdout).toMatch(/mlp\.experts\.gate_proj +\d\.\d+e-3/);
    expect(packed.stdout).toMatch(/self_attn\.o_proj +\d\.\d+e-5/);
    expect(await run('--verify', '--out', out)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('every hash checked') as string,
    });
    const dir = join(folder, 'public');
    const published = await run('--publish', dir, '--out', out);
    expect(published.stdout).toMatch(/192 shards are published in .*public \(192 (linked|copied) now\)/);
    expect(await run('--publish', dir, '--check')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^192 shards .* are whole/) as string,
    });
    const [name] = await readdir(join(dir, 'shards'));
    await rm(join(dir, 'shards', name!));
    expect(await run('--publish', dir, '--check')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`${name} is missing`) as string,
    });
    await writeFile(join(out, 'config.json'), '{}');
    const damaged = await run('--verify', '--out', out);
    expect(damaged.code).toBe(1);
    expect(damaged.stderr).toMatch(/config\.json has 2 bytes instead of \d+/);
  });

  it('goes on after SIGKILL, and takes nothing half-packed for whole', async () => {
    const out = join(folder, 'out');
    const argv = ['--model', MODEL, '--out', out, '--quant', 'q4'];
    const main = join(import.meta.dirname, 'main.ts');
    const child = spawn(process.execPath, ['--import', 'tsx', main, 'pack', ...argv], {
      cwd: ROOT_DIR,
      stdio: 'ignore',
    });
    const ended = new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)));
    const journal = join(out, 'pack-journal.jsonl');
    // Some shards are finished and some are not.
    while (child.exitCode === null && !(await readFile(journal, 'utf8').catch(() => '')).includes('"job":"2/')) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    child.kill('SIGKILL');
    expect(await ended).toBe('SIGKILL');
    await expect(openPacked(out)).rejects.toMatchObject({ reason: 'not-packed' });
    expect((await run(...argv, '--verify')).code).toBe(0);
    const { manifest } = await openPacked(out);
    expect((await run('--model', MODEL, '--out', join(folder, 'whole'), '--quant', 'q4')).code).toBe(0);
    expect((await openPacked(join(folder, 'whole'))).manifest).toEqual(manifest);
  });

  it('prints help, and says what is wrong with an option', async () => {
    expect(await run('--help')).toMatchObject({ code: 0, stdout: expect.stringContaining('--quant') as string });
    for (const [argv, message] of [
      [[], '--model'],
      [['--model', MODEL], '--out'],
      [['--model', MODEL, '--out', folder, '--quant', 'q2'], 'q2'],
      [['--check', '--out', folder], '--publish'],
      [['--nonsense'], '--nonsense'],
    ] as const) {
      expect(await run(...argv)).toMatchObject({
        code: 2,
        stdout: '',
        stderr: expect.stringContaining(message) as string,
      });
    }
  });

  it('fails with the reason', async () => {
    const { code, stderr } = await run('--model', folder, '--out', join(folder, 'out'), '--quant', 'q8');
    expect(code).toBe(1);
    expect(stderr).toContain(folder);
  });
});
