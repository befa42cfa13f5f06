// Entry point of every npm command: installs and builds what is missing, and needs only Node.
// Plain JavaScript, since it runs before any dependency is installed.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { quietRun } from './quiet-run.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const MIN_NODE = [20, 19];
const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** What each command needs first, and the program that it then is, with the command line's arguments appended. */
const COMMANDS = {
  serve: { needs: ['dependencies', 'kernels', 'pages'], run: ['coordinator/src/cli/main.ts', 'serve'] },
  dev: { needs: ['dependencies', 'kernels'], run: ['tools/dev.ts'] },
  demo: { needs: ['dependencies', 'kernels', 'pages'], run: ['tools/demo/main.ts'] },
  chaos: { needs: ['dependencies', 'kernels', 'pages'], run: ['test/chaos/main.ts'] },
  clients: { needs: ['dependencies', 'kernels', 'pages'], run: ['test/clients/main.ts'] },
  bench: { needs: ['dependencies', 'kernels', 'pages'], run: ['test/bench/main.ts'] },
  simulate: { needs: ['dependencies', 'kernels'], run: ['tools/simulate/main.ts'] },
  screenshots: { needs: ['dependencies', 'kernels', 'pages'], run: ['tools/screenshots.ts'] },
  test: { needs: ['dependencies', 'kernels', 'pages', 'browser'], run: ['tools/test.ts'] },
  lint: { needs: ['dependencies'], run: ['tools/lint.ts'] },
  check: { needs: ['dependencies'], run: ['tools/check.ts'] },
  package: { needs: ['dependencies', 'kernels', 'pages'], run: ['tools/package/main.ts'] },
  build: { needs: ['dependencies', 'kernels', 'pages'] },
};

/** Sources of the built pages. */
const PAGE_SOURCES = ['apps', 'packages', 'package-lock.json', 'tsconfig.json'];
const PAGES = ['donor', 'console'];

async function main([name, ...args]) {
  const command = COMMANDS[name];
  if (!command) fail(`There is no command "${name ?? ''}". Known: ${Object.keys(COMMANDS).join(', ')}.`, 2);
  checkNode();
  endWithNpm();
  for (const need of command.needs) await ENSURE[need]();
  if (command.run) await become([...command.run, ...args]);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const [needMajor, needMinor] = MIN_NODE;
  if (major > needMajor || (major === needMajor && minor >= needMinor)) return;
  fail(`Shoal needs Node ${MIN_NODE.join('.')} or newer; this is ${process.versions.node}.`);
}

const ENSURE = {
  async dependencies() {
    if (dependenciesMatchLock()) return;
    // Uses the npm that started this process, not another version on PATH.
    const npm = process.env.npm_execpath;
    const command = npm ? [process.execPath, npm, 'ci'] : [process.platform === 'win32' ? 'npm.cmd' : 'npm', 'ci'];
    // The comparisons with llama.cpp (tests, benchmarks) use its prebuilt binary from npm and build none.
    process.env.NODE_LLAMA_CPP_SKIP_DOWNLOAD = 'true';
    const install = [...command, '--no-audit', '--no-fund', '--loglevel=error'];
    if (!(await runQuietly('Installing dependencies (npm ci)', install, 'npm-ci.log')))
      fail('npm ci failed: see above. Shoal needs the npm registry once, to install what it is built on.');
  },
  /** Compiles the WebAssembly kernels from AssemblyScript. */
  async kernels() {
    const stamp = join(ROOT, 'packages/kernels/dist/.sources');
    const hash = hashTree(['packages/kernels/wasm', 'package-lock.json']);
    if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return;
    say('Compiling the WebAssembly kernels');
    const code = await run([process.execPath, join(ROOT, 'packages/kernels/wasm/build.mjs')], { stdout: 2 });
    if (code !== 0) fail('The WebAssembly kernels could not be compiled: see above.');
    writeFileSync(stamp, hash);
  },
  async pages() {
    const hash = hashTree(PAGE_SOURCES);
    for (const page of PAGES) {
      const stamp = join(ROOT, 'apps', page, 'dist', '.sources');
      if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) continue;
      say(`Building the ${page} page`);
      const vite = join(ROOT, 'node_modules/vite/bin/vite.js');
      const code = await run([process.execPath, vite, 'build', `apps/${page}`, '--logLevel', 'warn'], { stdout: 2 });
      if (code !== 0) fail(`The ${page} page could not be built: see above.`);
      mkdirSync(dirname(stamp), { recursive: true });
      writeFileSync(stamp, hash);
    }
  },
  async browser() {
    const code = await run([process.execPath, '--import', 'tsx', 'tools/browser/ensure.ts'], { stdout: 2 });
    if (code !== 0) process.exit(code);
  },
};

/** Whether node_modules matches the lock file on this platform. */
function dependenciesMatchLock() {
  const installed = readJson('node_modules/.package-lock.json');
  const wanted = readJson('package-lock.json');
  if (!installed || !wanted) return false;
  return Object.entries(wanted.packages).every(([path, { version, optional, link }]) => {
    if (path === '' || optional || !path.includes('node_modules/')) return true;
    const there = installed.packages[path];
    return there !== undefined && (link || there.version === version);
  });
}

function readJson(path) {
  const full = join(ROOT, path);
  return existsSync(full) ? JSON.parse(readFileSync(full, 'utf8')) : undefined;
}

function hashTree(paths) {
  const hash = createHash('sha256');
  const visit = (path) => {
    if (statSync(path).isDirectory()) {
      for (const entry of readdirSync(path).sort()) {
        if (entry !== 'node_modules' && entry !== 'dist' && !entry.includes('.test.')) visit(join(path, entry));
      }
    } else {
      hash
        .update(`${relative(ROOT, path)}\0`)
        .update(readFileSync(path))
        .update('\0');
    }
  };
  for (const path of paths) visit(join(ROOT, path));
  return hash.digest('hex');
}

/** Runs a program of ours in this process, so that signals reach it and none of it can outlive this process. */
async function become([program, ...args]) {
  process.chdir(ROOT);
  const path = join(ROOT, program);
  process.argv = [process.execPath, path, ...args];
  // Only now, since it may just have been installed.
  const { register } = await import('tsx/esm/api');
  register();
  await import(pathToFileURL(path).href);
}

/**
 * Ends this process, as SIGTERM would, when npm is gone. npm passes on SIGINT and SIGTERM, and package.json puts no shell in between,
 * but nothing tells of npm's end by SIGKILL or SIGHUP.
 */
function endWithNpm() {
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    process.kill(process.pid, 'SIGTERM');
  }, 500);
  timer.unref();
}

/** Runs another program to its end and returns its exit code. */
function run([command, ...args], { stdout = 'inherit' } = {}) {
  const child = spawn(command, args, { cwd: ROOT, stdio: ['inherit', stdout, 'inherit'], shell: needsShell(command) });
  endTogether(child);
  return new Promise((resolve) => {
    child.on('error', (error) => fail(`${command} could not be started: ${error.message}`));
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

/** Runs an installer with one line of progress; what it prints goes to a log file. Resolves with whether it succeeded. */
async function runQuietly(what, command, logName) {
  const options = { what, command, logName, cwd: ROOT, shell: needsShell(command[0]), onChild: endTogether };
  return (await quietRun(options)).ok;
}

/** Windows needs a shell to start .cmd files. */
function needsShell(command) {
  return command.endsWith('.cmd');
}

/** A signal ends a child and this process, since only a terminal's would reach both. */
function endTogether(child) {
  let received;
  const forward = (signal) => {
    received = signal;
    child.kill(signal);
  };
  for (const signal of STOP_SIGNALS) process.on(signal, forward);
  const end = () => {
    for (const signal of STOP_SIGNALS) process.off(signal, forward);
    if (received !== undefined) process.exit(128 + constants.signals[received]);
  };
  child.on('error', end);
  child.on('exit', end);
}

function say(what) {
  process.stderr.write(`shoal: ${what} …\n`);
}

function fail(message, code = 1) {
  process.stderr.write(`shoal: ${message}\n`);
  process.exit(code);
}

await main(process.argv.slice(2));
