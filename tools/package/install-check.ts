import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { rehearse } from './rehearsal.ts';

/** Of a coordinator, from its start to its end. */
const TIMEOUT_MS = 300_000;

/** The oldest that the package allows, in its newest form, and the newest that there is. npm has Node's own builds. */
const NODE_VERSIONS = ['20.19', 'latest'];

/** Installs the tarball in an empty folder with an empty cache of npm, by each version of Node, and serves from there. */
export async function checkInstall(tarball: string): Promise<void> {
  for (const version of NODE_VERSIONS) {
    const folder = mkdtempSync(join(tmpdir(), 'shoal-install-'));
    try {
      process.stdout.write(`\n${await checkWith(version, tarball, folder)}\n`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
}

async function checkWith(version: string, tarball: string, folder: string): Promise<string> {
  const npm = process.env.npm_execpath;
  if (npm === undefined) throw new Error('run this by npm, as npm run package -- --check');
  const bin = await nodeFrom(npm, version, join(folder, 'node'));
  const home = join(folder, 'home');
  const empty = join(folder, 'empty');
  for (const dir of [home, empty]) mkdirSync(dir);
  const env = { ...ownEnvironment(), PATH: [bin, '/usr/bin', '/bin'].join(delimiter), HOME: home };
  const place = { cwd: empty, env };
  const node = join(bin, 'node');
  const installMs = await timed(() => run(node, [npm, 'install', '--no-audit', '--no-fund', tarball], place));
  const first = await serve(node, npm, place);
  try {
    const seen = await rehearse(first.url);
    const memoryBytes = memoryOf(first.group);
    await first.stop();
    const again = await serve(node, npm, place);
    await again.stop();
    return [
      `Node ${(await output(node, ['--version'])).trim()}: works, version ${seen.version}, ${seen.rowsByTab} rows by the tab`,
      `  tarball    ${mega(statSync(tarball).size)}, installed ${mega(await sizeOf(join(empty, 'node_modules')))}`,
      `  install    ${seconds(installMs)} with an empty cache of npm`,
      `  start      ${seconds(first.startMs)}, with packing; ${seconds(again.startMs)} afterwards`,
      `  memory     ${mega(memoryBytes)} after two answers`,
    ].join('\n');
  } finally {
    await first.stop();
  }
}

/** Nothing of this run's own settings: neither the repository's nor what npm hands down to scripts, except how to reach its registry. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const isOwn = (name: string): boolean =>
    !/^(SHOAL_|XDG_|INIT_CWD$|npm_(?!config_(registry|cafile|.*proxy)$))/.test(name);
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => isOwn(name)));
}

/** Returns the folder of the program. */
async function nodeFrom(npm: string, version: string, dir: string): Promise<string> {
  mkdirSync(dir);
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
  await run(process.execPath, [npm, 'install', '--no-audit', '--no-fund', '--no-save', `${name}@${version}`], {
    cwd: dir,
  });
  return join(dir, 'node_modules', name, 'bin');
}

interface Place {
  cwd: string;
  env?: NodeJS.ProcessEnv;
}

async function run(program: string, args: string[], place: Place): Promise<void> {
  const child = spawn(program, args, { ...place, stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}`);
}

async function output(program: string, args: string[]): Promise<string> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  for await (const data of child.stdout) text += String(data);
  return text;
}

interface Served {
  url: string;
  startMs: number;
  /** Of its processes: npm is in front of the coordinator. */
  group: number;
  /** Ctrl-C in a terminal, which reaches all processes of the foreground. Throws where the coordinator does not end as it should. */
  stop(): Promise<void>;
}

/** `npx shoal serve`, in a process group of its own. */
async function serve(node: string, npm: string, { cwd, env }: Place): Promise<Served> {
  const startedMs = performance.now();
  const args = [npm, 'exec', '--offline', '--', 'shoal', 'serve', '--port', '0'];
  const child = spawn(node, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const group = child.pid!;
  // Once all that could write has ended, and not npm alone.
  let isClosed = false;
  const closed = once(child, 'close').then(() => (isClosed = true));
  const timer = setTimeout(() => isClosed || process.kill(-group, 'SIGKILL'), TIMEOUT_MS);
  let said = '';
  const address = new Promise<string>((resolve, reject) => {
    const read = (data: Buffer): void => {
      said += data.toString();
      const [, url] = /API +(http\S+)\/v1/.exec(said) ?? [];
      if (url !== undefined) resolve(url);
    };
    for (const stream of [child.stdout, child.stderr]) stream.on('data', read);
    void closed.then(() => reject(new Error(`the coordinator has ended:\n${said}`)));
  });
  const stop = async (): Promise<void> => {
    if (!isClosed) process.kill(-group, 'SIGINT');
    await closed;
    clearTimeout(timer);
    if (!said.includes('Stopped.')) throw new Error(`the coordinator did not end as it should:\n${said}`);
  };
  return { url: await address, startMs: performance.now() - startedMs, group, stop };
}

/** Of the largest process of the group: npm and a shell may be in front of the coordinator. Only Linux tells. */
function memoryOf(group: number): number {
  if (process.platform !== 'linux') return Number.NaN;
  const { stdout: text } = spawnSync('ps', ['-o', 'rss=', '-g', String(group)], { encoding: 'utf8' });
  return Math.max(...text.trim().split(/\s+/).map(Number)) * 1024;
}

async function sizeOf(dir: string): Promise<number> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

const mega = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
