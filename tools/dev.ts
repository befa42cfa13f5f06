import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { createServer as createHttpServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, relative, sep } from 'node:path';
import { createLogger, createServer as createViteServer, type Logger, type ViteDevServer } from 'vite';
import { parseConfig, urlOf, UsageError } from '../coordinator/src/index.ts';
import { SECURITY_HEADERS } from '../coordinator/src/http/headers.ts';

const HELP = `npm run dev -- [options]

One address for everything: the pages come from their sources and reload as you save, the rest comes from a coordinator
that restarts as you save. Changed WebAssembly sources are compiled first.

Options are those of npm start. --host and --port are of the address that you open.
`;

const ROOT = join(import.meta.dirname, '..');
/** Pages by the paths at which the coordinator serves them (coordinator/src/http/pages.ts). */
const PAGES: readonly (readonly [path: RegExp, app: string])[] = [
  [/^\/(index\.html)?$/, 'donor'],
  [/^\/(console|playground|lab|docs)(\/|$)/, 'console'],
];
/** Proxied to the coordinator; Vite serves the rest. */
const NOT_VITE = '^/(?!@|apps/|packages/|node_modules/)';
const COORDINATOR_SOURCE = /^(coordinator\/src|packages\/\w+\/src)\/(?!.*\.test\.)/;
const KERNEL_SOURCE = /^packages\/kernels\/wasm\//;
/** An editor, or git, writes several files at once. */
const SETTLE_MS = 150;
/** Time after which the coordinator is killed: it drains for a second, then closes connections. */
const KILL_AFTER_MS = 6_000;
const POLL_MS = 100;

const say = (line: string): void => void process.stderr.write(`dev: ${line}\n`);

async function main(argv: readonly string[]): Promise<void> {
  if (argv.includes('--help') || argv.includes('-h')) return void process.stdout.write(HELP);
  const config = parseConfig(argv, process.env);
  // Kept across restarts, so that an open console stays signed in. An access file may name its own admins.
  const needsToken = config.adminToken === undefined && config.accessFile === undefined;
  const adminToken = needsToken ? randomBytes(16).toString('base64url') : undefined;
  const http = createHttpServer();
  await listen(http, typeof config.port === 'number' ? config.port : config.port.first, config.host);
  const url = urlOf(config.host, (http.address() as AddressInfo).port);
  const port = await freePort();
  const stopped = interrupted();
  if (adminToken !== undefined) process.env.SHOAL_ADMIN_TOKEN = adminToken;
  const args = ['--drain-timeout=1', ...argv, '--host=127.0.0.1', `--port=${port}`];
  const coordinator = new RestartingCoordinator(port, args);
  const vite = await servePages(http, `http://127.0.0.1:${port}`);
  watch(vite, coordinator);
  const signedIn = adminToken === undefined ? '' : `#token=${adminToken}`;
  process.stdout.write(`
  lend a GPU    ${url}/
  playground    ${url}/playground
  lab           ${url}/lab
  console       ${url}/console${signedIn}
  API           ${url}/v1

Pages and coordinator follow the sources. Ctrl-C to stop.
`);
  coordinator.restart();
  await stopped;
  http.close();
  http.closeAllConnections();
  await Promise.all([coordinator.close(), vite.close()]);
}

/** Runs Vite on our own server: on its own, it would exit at SIGTERM without waiting for the coordinator. */
async function servePages(http: Server, coordinatorUrl: string): Promise<ViteDevServer> {
  const vite = await createViteServer({
    configFile: false,
    root: ROOT,
    appType: 'custom',
    clearScreen: false,
    customLogger: quietWhileRestarting(),
    oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
    optimizeDeps: { entries: ['apps/*/src/{main.tsx,worker.ts}'] },
    server: {
      middlewareMode: { server: http },
      // The same isolation and policy as in production.
      headers: SECURITY_HEADERS,
      // The coordinator answers preflights itself.
      cors: false,
      watch: { ignored: ['**/.cache/**', '**/models/**', 'apps/*/dist/**'] },
      proxy: { [NOT_VITE]: { target: coordinatorUrl, ws: true } },
    },
    plugins: [
      {
        name: 'shoal-pages',
        configureServer: (server) =>
          void server.middlewares.use((request, response, next) => {
            const path = new URL(request.url ?? '/', 'http://localhost').pathname;
            const app = PAGES.find(([pattern]) => pattern.test(path))?.[1];
            if (app === undefined) return next();
            pageOf(server, app, path).then((html) => {
              response.writeHead(200, { ...SECURITY_HEADERS, 'content-type': 'text/html; charset=utf-8' }).end(html);
            }, next);
          }),
      },
    ],
  });
  http.on('request', vite.middlewares);
  return vite;
}

/** Omits the stack traces of requests that arrive without a coordinator; they are answered with 502. */
function quietWhileRestarting(): Logger {
  const logger = createLogger('info', { allowClearScreen: false });
  const { error } = logger;
  logger.error = (message, options) => {
    if (!/proxy (socket )?error/.test(message)) error(message, options);
  };
  return logger;
}

async function pageOf(vite: ViteDevServer, app: string, path: string): Promise<string> {
  const html = await readFile(join(ROOT, 'apps', app, 'index.html'), 'utf8');
  return vite.transformIndexHtml(path, html.replaceAll('"/src/', `"/apps/${app}/src/`));
}

function watch(vite: ViteDevServer, coordinator: RestartingCoordinator): void {
  let timer: NodeJS.Timeout | undefined;
  let kernelsChanged = false;
  vite.watcher.on('all', (_, file) => {
    const path = relative(ROOT, file).replaceAll(sep, '/');
    const isKernel = KERNEL_SOURCE.test(path);
    if (!isKernel && !COORDINATOR_SOURCE.test(path)) return;
    kernelsChanged ||= isKernel;
    clearTimeout(timer);
    timer = setTimeout(() => {
      say(`${path} changed: ${kernelsChanged ? 'compiling the kernels' : 'restarting the coordinator'} …`);
      coordinator.restart(kernelsChanged);
      kernelsChanged = false;
    }, SETTLE_MS);
  });
}

/** The coordinator's process, replaced on request. At most one runs, and none after `close`. */
class RestartingCoordinator {
  readonly #port: number;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;
  #compiler: ChildProcess | undefined;
  #closed = false;
  #work: Promise<void> = Promise.resolve();

  constructor(port: number, args: readonly string[]) {
    this.#port = port;
    this.#args = args;
    // In case this process crashes.
    process.on('exit', () => this.#child?.kill('SIGKILL'));
  }

  /** `compileKernels` builds the WebAssembly first; if that fails, the running coordinator stays. */
  restart(compileKernels = false): void {
    this.#work = this.#work.then(async () => {
      if (this.#closed) return;
      if (compileKernels && !(await this.#compileKernels())) return;
      await this.#end();
      if (!this.#closed) this.#begin();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#compiler?.kill();
    await this.#end();
    await this.#work;
  }

  #begin(): void {
    const startedMs = performance.now();
    const child = this.#spawn(['--import', 'tsx', 'coordinator/src/cli/main.ts', 'serve', ...this.#args]);
    this.#child = child;
    child.once('exit', (code, signal) => {
      if (this.#child !== child) return;
      this.#child = undefined;
      say(`the coordinator has stopped (${signal ?? `exit code ${code}`}); it starts again at the next change`);
    });
    void this.#serves(child).then((serves) => {
      if (serves) say(`the coordinator is ready (${((performance.now() - startedMs) / 1000).toFixed(1)} s)`);
    });
  }

  /** False if `child` exits before it serves. */
  async #serves(child: ChildProcess): Promise<boolean> {
    while (this.#child === child) {
      const answer = await fetch(`http://127.0.0.1:${this.#port}/readyz`).catch(() => undefined);
      if (answer?.ok) return true;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return false;
  }

  async #end(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
    await exited;
    clearTimeout(timer);
  }

  async #compileKernels(): Promise<boolean> {
    // tools/run.mjs must not mistake this output for that of its last build.
    await rm(join(ROOT, 'packages/kernels/dist/.sources'), { force: true });
    this.#compiler = this.#spawn(['packages/kernels/wasm/build.mjs']);
    const [code] = await once(this.#compiler, 'exit');
    return code === 0;
  }

  #spawn(args: readonly string[]): ChildProcess {
    // stdout shows addresses that users shouldn't open; errors and progress go to stderr.
    return spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] });
  }
}

async function listen(server: Server, port: number, host: string): Promise<void> {
  server.listen(port, host);
  await once(server, 'listening');
}

/** Finds a free port, which the coordinator takes at every start. */
async function freePort(): Promise<number> {
  const server = createHttpServer();
  await listen(server, 0, '127.0.0.1');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    // Not `once`: another signal must not end this process before the coordinator.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve());
  });
}

try {
  await main(process.argv.slice(2));
  process.exit(0);
} catch (error) {
  const expected = error instanceof UsageError || (error as NodeJS.ErrnoException).syscall === 'listen';
  process.stderr.write(`dev: ${expected ? (error as Error).message : (error as Error).stack}\n`);
  process.exit(error instanceof UsageError ? 2 : 1);
}
