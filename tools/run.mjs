// Entry point of every npm command: installs and builds what is missing, and needs only Node.
// Plain JavaScript, since it runs before any dependency is installed.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const MIN_NODE = [20, 19];

/**
 * What each command needs first and what it then runs, with the command line's arguments appended.
 * `endsWithParent` stops it when the process that started this one is gone.
 */
const COMMANDS = {
  serve: { needs: ['dependencies', 'kernels', 'pages'], run: tsx('coordinator/src/cli/main.ts', 'serve') },
  dev: { needs: ['dependencies', 'kernels'], run: tsx('tools/dev.ts'), endsWithParent: true },
  demo: { needs: ['dependencies', 'kernels', 'pages'], run: tsx('tools/demo/main.ts') },
  chaos: { needs: ['dependencies', 'kernels', 'pages'], run: tsx('test/chaos/main.ts') },
  bench: { needs: ['dependencies', 'kernels', 'pages'], run: tsx('test/bench/main.ts') },
  simulate: { needs: ['dependencies', 'kernels'], run: tsx('tools/simulate/main.ts') },
  screenshots: { needs: ['dependencies', 'kernels', 'pages'], run: tsx('tools/screenshots.ts') },
  test: { needs: ['dependencies', 'kernels', 'pages', 'browser'], run: tsx('tools/test.ts') },
  lint: { needs: ['dependencies'], run: tsx('tools/lint.ts') },
  check: { needs: ['dependencies'], run: tsx('tools/check.ts') },
  build: { needs: ['dependencies', 'kernels', 'pages'] },
};

/** Sources of the built pages. */
const PAGE_SOURCES = ['apps', 'packages', 'package-lock.json', 'tsconfig.json'];
const PAGES = ['donor', 'console'];

function tsx(...args) {
  return [process.execPath, '--import', 'tsx', ...args];
}

function main([name, ...args]) {
  const command = COMMANDS[name];
  if (!command) fail(`There is no command "${name ?? ''}". Known: ${Object.keys(COMMANDS).join(', ')}.`, 2);
  checkNode();
  for (const need of command.needs) ENSURE[need]();
  if (command.run) handOver([...command.run, ...args], command.endsWithParent);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const [needMajor, needMinor] = MIN_NODE;
  if (major > needMajor || (major === needMajor && minor >= needMinor)) return;
  fail(`Shoal needs Node ${MIN_NODE.join('.')} or newer; this is ${process.versions.node}.`);
}

const ENSURE = {
  dependencies() {
    if (dependenciesMatchLock()) return;
    say('Installing dependencies (npm ci)');
    // Uses the npm that started this process, not another version on PATH.
    const npm = process.env.npm_execpath;
    const command = npm ? [process.execPath, npm, 'ci'] : [process.platform === 'win32' ? 'npm.cmd' : 'npm', 'ci'];
    // The comparisons with llama.cpp (tests, benchmarks) use its prebuilt binary from npm and build none.
    process.env.NODE_LLAMA_CPP_SKIP_DOWNLOAD = 'true';
    // stdout is reserved for the command (`--json` prints a document).
    const code = run([...command, '--no-audit', '--no-fund', '--loglevel=error'], { stdout: 2 });
    if (code !== 0)
      fail('npm ci failed: see above. Shoal needs the npm registry once, to install what it is built on.');
  },
  /** Compiles the WebAssembly kernels from AssemblyScript. */
  kernels() {
    const stamp = join(ROOT, 'packages/kernels/dist/.sources');
    const hash = hashTree(['packages/kernels/wasm', 'package-lock.json']);
    if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return;
    say('Compiling the WebAssembly kernels');
    const code = run([process.execPath, join(ROOT, 'packages/kernels/wasm/build.mjs')], { stdout: 2 });
    if (code !== 0) fail('The WebAssembly kernels could not be compiled: see above.');
    writeFileSync(stamp, hash);
  },
  pages() {
    const hash = hashTree(PAGE_SOURCES);
    for (const page of PAGES) {
      const stamp = join(ROOT, 'apps', page, 'dist', '.sources');
      if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) continue;
      say(`Building the ${page} page`);
      const vite = join(ROOT, 'node_modules/vite/bin/vite.js');
      const code = run([process.execPath, vite, 'build', `apps/${page}`, '--logLevel', 'warn'], { stdout: 2 });
      if (code !== 0) fail(`The ${page} page could not be built: see above.`);
      mkdirSync(dirname(stamp), { recursive: true });
      writeFileSync(stamp, hash);
    }
  },
  browser() {
    const code = run(tsx('tools/browser/ensure.ts'), { stdout: 2 });
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

/**
 * Runs the command and exits with its code. Ctrl-C reaches it from the terminal; a signal sent only to this process (by
 * `docker stop` or a service manager) is forwarded, so that the command can drain.
 */
function handOver([command, ...args], endsWithParent = false) {
  const child = spawn(command, args, { cwd: ROOT, stdio: 'inherit' });
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  // A signal to npm reaches only the shell between npm and this process, which exits without forwarding it.
  const parent = process.ppid;
  if (endsWithParent) setInterval(() => process.ppid !== parent && child.kill('SIGTERM'), 500);
  child.on('error', (error) => fail(`${command} could not be started: ${error.message}`));
  child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}

/** Runs a command to its end and returns its exit code; the child handles Ctrl-C itself. */
function run([command, ...args], { stdout = 'inherit' } = {}) {
  const ignore = () => {};
  process.on('SIGINT', ignore);
  // Windows needs a shell to start .cmd files.
  const shell = command.endsWith('.cmd');
  const result = spawnSync(command, args, { cwd: ROOT, stdio: ['inherit', stdout, 'inherit'], shell });
  process.removeListener('SIGINT', ignore);
  if (result.error) fail(`${command} could not be started: ${result.error.message}`);
  return result.status ?? 1;
}

function say(what) {
  process.stderr.write(`shoal: ${what} …\n`);
}

function fail(message, code = 1) {
  process.stderr.write(`shoal: ${message}\n`);
  process.exit(code);
}

main(process.argv.slice(2));
