// Runs installers with one line on the terminal and everything else in a file.
// Plain JavaScript, since tools/run.mjs needs it before any dependency is installed.
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** How often a terminal's line is written anew. */
const TICK_MS = 1_000;
/** Of the log, shown after a failure. */
const SHOWN_LINES = 20;

/**
 * Runs a program to its end. A terminal gets one line, which counts the seconds; a log gets a line at the start and one at the end.
 * What the program prints goes to a file, whose last lines are shown if it fails.
 * Types: quiet-run.d.mts.
 */
export async function quietRun({ what, command, logName, cwd, env, shell, timeoutMs, onChild, out = process.stderr }) {
  // A folder of its own, since a file of a known name in a folder that all can write to could be somebody else's link.
  const logFile = join(mkdtempSync(join(tmpdir(), 'shoal-install-')), logName);
  const startedMs = performance.now();
  const seconds = () => Math.round((performance.now() - startedMs) / 1000);
  const isTty = out.isTTY === true;
  const show = (line, end) => out.write(`${isTty ? '\r\u001B[K' : ''}shoal: ${line}${end ? '\n' : ''}`);
  show(isTty ? `${what} …` : `${what} … (its output: ${logFile})`, !isTty);
  const timer = isTty ? setInterval(() => show(`${what} … ${seconds()} s`, false), TICK_MS) : undefined;
  const problem = await runInto(logFile, { command, cwd, env, shell, timeoutMs, onChild });
  clearInterval(timer);
  if (problem === undefined) show(`${what}: done in ${seconds()} s`, true);
  else {
    show(`${what}: failed after ${seconds()} s (${problem}). The end of ${logFile}:`, true);
    for (const line of lastLines(logFile)) out.write(`  | ${line}\n`);
  }
  return { ok: problem === undefined, logFile };
}

/** Resolves with what went wrong, if anything. */
function runInto(logFile, { command: [program, ...args], cwd, env, shell, timeoutMs, onChild }) {
  const log = openSync(logFile, 'wx', 0o600);
  const child = spawn(program, args, { cwd, env, shell, timeout: timeoutMs, stdio: ['ignore', log, log] });
  onChild?.(child);
  return new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => {
      if (code !== 0) resolve(signal === null ? `exit code ${code}` : `ended by ${signal}`);
      else resolve(undefined);
    });
  }).finally(() => closeSync(log));
}

function lastLines(file) {
  // Progress bars rewrite a line many times.
  const lines = readFileSync(file, 'utf8').split(/[\r\n]+/);
  return lines.filter((line) => line.trim() !== '').slice(-SHOWN_LINES);
}
