import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { quietRun } from './quiet-run.mjs';

function outOf(isTTY: boolean) {
  let text = '';
  return { isTTY, write: (more: string) => void (text += more), text: () => text };
}

/** As loud as apt. */
const chatter = (exitCode: number): string[] => [
  process.execPath,
  '-e',
  `for (let i = 0; i < 500; i++) console.log('Setting up package ' + i); console.error('E: no space left');
   process.exitCode = ${exitCode};`,
];

it('prints a line for 500 of an installer’s, and keeps these in a file', async () => {
  const out = outOf(true);
  const { ok, logFile } = await quietRun({ what: 'Installing it', command: chatter(0), logName: 'it.log', out });
  expect(ok).toBe(true);
  // Each text begins the same line of the terminal anew.
  expect(out.text().split('\r\u001B[K').slice(1).at(-1)).toMatch(/^shoal: Installing it: done in \d+ s\n$/);
  expect(out.text().match(/\n/g)).toHaveLength(1);
  expect(readFileSync(logFile, 'utf8')).toContain('Setting up package 0\n');
});

it('shows the end of what a failed installer printed, and says where the rest is', async () => {
  const out = outOf(false);
  const { ok, logFile } = await quietRun({ what: 'Installing it', command: chatter(7), logName: 'it.log', out });
  expect(ok).toBe(false);
  const lines = out.text().trimEnd().split('\n');
  expect(lines[0]).toBe(`shoal: Installing it … (its output: ${logFile})`);
  expect(lines[1]).toMatch(/failed after \d+ s \(exit code 7\)\. The end of /);
  expect(lines).toHaveLength(22);
  expect(lines.at(-1)).toBe('  | E: no space left');
});

it('says so where there is no such program', async () => {
  const out = outOf(false);
  const job = { what: 'Installing it', command: ['/nowhere/installer'], logName: 'it.log', out };
  expect(await quietRun(job)).toMatchObject({ ok: false });
  expect(out.text()).toContain('ENOENT');
});
