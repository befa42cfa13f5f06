import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';

/** Debian's packages. */
const PACKAGES = '/usr/lib/postgresql';
const START_MS = 30_000;
export const PASSWORD = 'a secret of the tests';

/** Where the newest Postgres of this machine is. Installs Debian's if there is none, which needs root. */
function postgresPrograms(): string {
  if (!existsSync(PACKAGES)) execFileSync('apt-get', ['install', '-y', '-q', 'postgresql'], { stdio: 'inherit' });
  const versions = readdirSync(PACKAGES).filter((name) => existsSync(join(PACKAGES, name, 'bin/postgres')));
  const newest = versions.toSorted((a, b) => Number(b) - Number(a))[0];
  if (newest === undefined) throw new Error(`There is no Postgres in ${PACKAGES}: apt-get install postgresql`);
  return join(PACKAGES, newest, 'bin');
}

/** A real Postgres server on a free port of this machine, with a database `shoal` and a password. It can be killed and started again. */
export class Postgres {
  readonly port: number;
  readonly #dir: string;
  readonly #programs: string;
  #server: ChildProcess | undefined;

  private constructor(programs: string, dir: string, port: number) {
    this.#programs = programs;
    this.#dir = dir;
    this.port = port;
  }

  static async start(): Promise<Postgres> {
    const programs = postgresPrograms();
    const dir = await mkdtemp(join(tmpdir(), 'shoal-postgres-'));
    if (isRoot) execFileSync('chown', ['nobody', dir]);
    const secret = join(dir, 'password');
    await writeFile(secret, PASSWORD);
    await chmod(secret, 0o644);
    const postgres = new Postgres(programs, dir, await freePort());
    const args = [
      '-D',
      join(dir, 'data'),
      '-U',
      'shoal',
      '-A',
      'scram-sha-256',
      '--pwfile',
      secret,
      '--no-sync',
      '-E',
      'UTF8',
      '--locale=C',
    ];
    const [command, ...rest] = asOther([join(programs, 'initdb'), ...args]);
    execFileSync(command!, rest, { stdio: 'ignore', cwd: '/' });
    await postgres.run();
    const client = new pg.Client({ connectionString: postgres.url('postgres') });
    await client.connect();
    await client.query('create database shoal');
    await client.end();
    return postgres;
  }

  url(name = 'shoal', port = this.port): string {
    return `postgres://shoal:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/${name}`;
  }

  /** Starts the server, again after `stop`, and waits until it answers. */
  async run(): Promise<void> {
    const args = ['-D', join(this.#dir, 'data'), '-p', String(this.port), '-h', '127.0.0.1', '-k', this.#dir];
    // What a process has written outlasts its end without a sync, too.
    const [command, ...rest] = asOther([join(this.#programs, 'postgres'), ...args, '-c', 'fsync=off']);
    this.#server = spawn(command!, rest, { stdio: 'ignore', cwd: '/' });
    const untilMs = performance.now() + START_MS;
    for (;;) {
      const client = new pg.Client({ connectionString: this.url('postgres') });
      client.on('error', () => {});
      try {
        await client.connect();
        return await client.end();
      } catch (error) {
        if (performance.now() > untilMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  /** SIGKILL is a crash, as is SIGQUIT, which ends all of its processes; SIGINT ends its connections and stops. */
  async stop(signal: 'SIGKILL' | 'SIGQUIT' | 'SIGINT' = 'SIGINT'): Promise<void> {
    const server = this.#server;
    if (!server || server.exitCode !== null || server.signalCode !== null) return;
    // setpriv has become the server, so that it is the child itself.
    server.kill(signal);
    await once(server, 'exit');
  }

  async close(): Promise<void> {
    await this.stop();
    await rm(this.#dir, { recursive: true });
  }
}

const isRoot = process.getuid?.() === 0;

/** Postgres refuses to run as root. */
const asOther = (command: string[]): string[] =>
  isRoot ? ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', ...command] : command;

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
