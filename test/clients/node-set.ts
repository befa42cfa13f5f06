import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JsonTestResults } from 'vitest/reporters';
import { ROOT_DIR } from '../../coordinator/src/config.ts';
import type { Trial } from './trial.ts';

/** The package that each file in node/ tries. */
const PACKAGES: readonly (readonly [file: string, name: string])[] = [
  ['openai.test.ts', 'openai'],
  ['openai-tools.test.ts', 'openai'],
  ['openai-responses.test.ts', 'openai'],
  ['anthropic.test.ts', '@anthropic-ai/sdk'],
  ['ai-sdk.test.ts', 'ai'],
  ['langchain.test.ts', '@langchain/openai'],
];

/** Runs the vitest project `clients`, which starts a coordinator of its own. */
export async function tryNodeSet(): Promise<Trial[]> {
  const dir = await mkdtemp(join(tmpdir(), 'shoal-clients-'));
  try {
    const outputFile = join(dir, 'results.json');
    const vitest = join(ROOT_DIR, 'node_modules/vitest/vitest.mjs');
    const args = [vitest, 'run', '--project', 'clients', '--reporter=json', `--outputFile=${outputFile}`];
    await once(spawn(process.execPath, args, { cwd: ROOT_DIR, stdio: ['ignore', 'ignore', 'inherit'] }), 'exit');
    const { testResults } = JSON.parse(await readFile(outputFile, 'utf8')) as JsonTestResults;
    return (await Promise.all(testResults.map(trialsOf))).flat();
  } finally {
    await rm(dir, { recursive: true });
  }
}

async function trialsOf({ name, message, assertionResults }: JsonTestResults['testResults'][number]): Promise<Trial[]> {
  const program = PACKAGES.find(([file]) => name.endsWith(`/${file}`))?.[1] ?? name;
  const manifest = await readFile(join(ROOT_DIR, 'node_modules', program, 'package.json'), 'utf8').catch(() => '{}');
  const { version = '?' } = JSON.parse(manifest) as { version?: string };
  // A file that cannot be loaded has no tests.
  if (assertionResults.length === 0)
    return [{ program, version, what: 'all', error: message || 'nothing ran', seconds: 0 }];
  return assertionResults.map(({ ancestorTitles, title, status, failureMessages, duration }) => ({
    program,
    version,
    what: [...ancestorTitles.filter((part) => part !== program), title].join(': '),
    error: status === 'passed' ? undefined : (failureMessages?.[0] ?? status),
    seconds: (duration ?? 0) / 1000,
  }));
}
