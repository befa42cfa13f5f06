import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPacked } from '@shoal/weights/node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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
      experts: 160,
      verified: true,
      modelDigest: (await openPacked(out)).manifest.modelDigest,
    });
    expect(stderr).toMatch(/packing 100 % \(6\.0 MiB of 6\.0 MiB, [\d.]+ [KMG]?i?B\/s, 0 s left\)/);
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

  it('prints help, and says what is wrong with an option', async () => {
    expect(await run('--help')).toMatchObject({ code: 0, stdout: expect.stringContaining('--quant') as string });
    for (const [argv, message] of [
      [[], '--model'],
      [['--model', MODEL], '--out'],
      [['--model', MODEL, '--out', folder, '--quant', 'q2'], 'q2'],
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
