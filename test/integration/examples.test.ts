import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';

const ROOT = join(import.meta.dirname, '../..');

/** Output of an example, run as its README says. */
async function run(example: string, ...args: readonly string[]): Promise<string> {
  const argv = ['--import', 'tsx', `examples/${example}`, ...args];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, argv, { cwd: ROOT });
  expect(stderr).toBe('');
  return stdout;
}

describe('examples of the API', () => {
  let coordinator: Coordinator;
  beforeAll(async () => void (coordinator = await startTinyCoordinator()));
  afterAll(() => coordinator.close());

  it('openai-client.ts and plain-fetch.ts print the same answers', async () => {
    const [client, plain] = await Promise.all(
      ['openai-client.ts', 'plain-fetch.ts'].map((example) => run(example, coordinator.url)),
    );
    expect(client).toMatch(
      /^model: tiny-stories\ncompletion: .{20,}\ntokens: 32\nchat: .{20,}\ntokens: 32\nerror: 404 model_not_found\n$/s,
    );
    expect(plain).toBe(client);
  });
});

describe('examples over the simulator', () => {
  it('placement.ts finds that Shoal asks fewer tabs than round robin and a hash do', async () => {
    const table = await run('placement.ts');
    const tabsOf = (placement: string): number => Number(new RegExp(`^${placement} +([\\d.]+) `, 'm').exec(table)![1]);
    expect(tabsOf('Shoal')).toBeLessThan(tabsOf('round robin') / 2);
    expect(tabsOf('Shoal')).toBeLessThan(tabsOf('hash of the expert') / 2);
  });
});
