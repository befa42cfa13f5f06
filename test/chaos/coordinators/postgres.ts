import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

const DEBIAN_DIR = '/usr/lib/postgresql';
/** A user without rights, since the server refuses to run as root. */
const NOBODY = 65_534;
const START_TIMEOUT_MS = 30_000;

/** A Postgres server of its own, in a folder under /tmp and on a free port, that nothing outlives. */
export class PostgresServer {
  readonly port: number;
  readonly #dir: string;
  #child: ChildProcess | undefined;

  private constructor(dir: string, port: number) {
    this.#dir = dir;
    this.port = port;
  }

  /** Installs Debian's server if there is none, which needs root. */
  static async start(): Promise<PostgresServer> {
    if (!existsSync(DEBIAN_DIR)) {
      execFileSync('apt-get', ['install', '-y', '-q', 'postgresql'], { stdio: 'inherit' });
    }
    const dir = mkdtempSync(join(tmpdir(), 'shoal-postgres-'));
    chmodSync(dir, 0o755);
    const data = join(dir, 'data');
    if (isRoot()) chownSync(dir, NOBODY, NOBODY);
    const server = new PostgresServer(dir, await freePort());
    server.#run('initdb', ['-D', data, '-A', 'trust', '-U', 'shoal', '--no-sync', '-E', 'UTF8', '--locale=C']);
    await server.restart();
    return server;
  }

  /** Starts it, again after `kill`. */
  async restart(): Promise<void> {
    const args = ['-D', join(this.#dir, 'data'), '-p', String(this.port), '-k', this.#dir];
    const settings = ['fsync=off', 'listen_addresses=127.0.0.1', 'max_connections=100'];
    const child = spawn(binary('postgres'), [...args, ...settings.flatMap((setting) => ['-c', setting])], {
      stdio: 'ignore',
      ...identity(),
    });
    this.#child = child;
    const untilMs = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      const client = new pg.Client({ connectionString: this.url(this.port) });
      client.on('error', () => {});
      try {
        await client.connect();
        await client.end();
        return;
      } catch (error) {
        if (performance.now() > untilMs || child.exitCode !== null) throw error;
        await delay(100);
      }
    }
  }

  /** For this port, or that of a relay in front of it. */
  url(port: number): string {
    return `postgres://shoal@127.0.0.1:${port}/postgres`;
  }

  /** As a crash of the machine: what is unlogged is empty afterwards. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    // SIGQUIT ends it and its processes at once, without a checkpoint.
    child.kill('SIGQUIT');
    await once(child, 'exit');
  }

  async close(): Promise<void> {
    await this.kill();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #run(program: string, args: string[]): void {
    execFileSync(binary(program), args, { stdio: 'ignore', cwd: this.#dir, ...identity() });
  }
}

const isRoot = (): boolean => process.getuid?.() === 0;
const identity = (): { uid?: number; gid?: number } => (isRoot() ? { uid: NOBODY, gid: NOBODY } : {});

/** Of the newest version. */
function binary(program: string): string {
  const newest = readdirSync(DEBIAN_DIR)
    .toSorted((a, b) => Number(a) - Number(b))
    .at(-1)!;
  return join(DEBIAN_DIR, newest, 'bin', program);
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}
