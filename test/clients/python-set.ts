import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ROOT_DIR } from '../../coordinator/src/config.ts';
import { TINY_STORIES } from '../integration/golden.ts';
import type { Trial } from './trial.ts';

const PROGRAMS = join(import.meta.dirname, 'python');
const VENV = join(ROOT_DIR, '.cache/clients/venv');
const PROGRAM_MS = 300_000;

/** The programs' names: try_NAME.py. */
export function pythonPrograms(): string[] {
  return readdirSync(PROGRAMS).flatMap((file) => /^try_(\w+)\.py$/.exec(file)?.[1] ?? []);
}

/** Installs what the programs try, unless that is done: half a minute to several, 1.5 GB. Returns the Python to run them with. */
export function ensureVenv(): string {
  const [requirements, constraints] = ['requirements.txt', 'constraints.txt'].map((file) => join(PROGRAMS, file));
  const python = process.platform === 'win32' ? join(VENV, 'Scripts/python.exe') : join(VENV, 'bin/python');
  const stamp = join(VENV, '.requirements');
  const hash = createHash('sha256');
  for (const file of [requirements!, constraints!]) hash.update(readFileSync(file));
  const wanted = hash.digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return python;
  rmSync(VENV, { recursive: true, force: true });
  install(process.env.SHOAL_PYTHON ?? 'python3', ['-m', 'venv', VENV]);
  install(python, ['-m', 'pip', 'install', '--quiet', '-r', requirements!, '-c', constraints!]);
  writeFileSync(stamp, wanted);
  return python;
}

function install(command: string, args: readonly string[]): void {
  process.stderr.write(`clients: ${command} ${args.join(' ')}\n`);
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 2, 'inherit'] });
  if (status === 0) return;
  throw new Error(
    `The Python programs could not be installed: ${error?.message ?? 'see above'}. They need Python 3.11 or newer (SHOAL_PYTHON names another) and pip's package index.`,
  );
}

/** Runs one program in a process of its own, and ends it when it takes too long. */
export async function tryPythonProgram(name: string, python: string, url: string): Promise<Trial[]> {
  const child = spawn(python, [join(PROGRAMS, `try_${name}.py`)], {
    env: environment(url),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors = (errors + text).slice(-4000)));
  const exited = once(child, 'exit');
  const deadline = setTimeout(() => child.kill('SIGKILL'), PROGRAM_MS);
  const trials: Trial[] = [];
  let program = name;
  let version = '?';
  const waiting = new Set<string>();
  for await (const line of createInterface(child.stdout)) {
    const said = JSON.parse(line) as ProgramLine;
    if ('package' in said) {
      ({ package: program, version } = said);
      for (const what of said.trials) waiting.add(what);
    } else {
      waiting.delete(said.tried);
      trials.push({
        program,
        version,
        what: said.tried,
        error: said.error ?? undefined,
        seconds: said.seconds,
      });
    }
  }
  const [code, signal] = (await exited) as [number | null, string | null];
  clearTimeout(deadline);
  if (signal === 'SIGKILL') errors = `not done after ${PROGRAM_MS / 1000} s`;
  if (trials.some(({ error }) => error !== undefined) || code !== 0) process.stderr.write(`${name}: ${errors}\n`);
  // What ended before it said what it would try has tried nothing.
  if (code !== 0 && trials.length === 0 && waiting.size === 0) waiting.add('all');
  return [
    ...trials,
    ...[...waiting].map((what) => ({ program, version, what, error: errors.slice(-200), seconds: 0 })),
  ];
}

type ProgramLine =
  { package: string; version: string; trials: string[] } | { tried: string; error: string | null; seconds: number };

/** Nothing of what the programs would fetch or report elsewhere. */
function environment(url: string): NodeJS.ProcessEnv {
  const tokenizer = JSON.parse(readFileSync(join(TINY_STORIES, 'tokenizer.json'), 'utf8')) as {
    model: { vocab: Record<string, number> };
  };
  return {
    ...process.env,
    SHOAL_URL: url,
    SHOAL_TOKENIZER: TINY_STORIES,
    SHOAL_END_OBJECT_TOKEN: `${tokenizer.model.vocab['}']}`,
    PYTHONDONTWRITEBYTECODE: '1',
    // Some refuse to start without, although none is asked for.
    OPENAI_API_KEY: 'any',
    ANTHROPIC_API_KEY: 'any',
    LITELLM_LOCAL_MODEL_COST_MAP: 'True',
    OPENAI_AGENTS_DISABLE_TRACING: '1',
    LANGSMITH_TRACING: 'false',
    DO_NOT_TRACK: '1',
    HF_HUB_OFFLINE: '1',
    HF_DATASETS_OFFLINE: '1',
    HF_HOME: join(ROOT_DIR, '.cache/clients/huggingface'),
  };
}
