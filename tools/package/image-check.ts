import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ROOT_DIR } from '../../coordinator/src/index.ts';
import { VERSION } from '../../coordinator/src/base/version.ts';
import { rehearse } from './rehearsal.ts';

/** The major version that the Dockerfile names. */
const NODE_MAJOR = 22;
const START_TIMEOUT_MS = 120_000;
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';
/** Works without privileges and without kernel modules, also in a container. */
const ENGINE_ENV = { ...process.env, STORAGE_DRIVER: 'vfs', BUILDAH_ISOLATION: 'chroot' };

/** Says that the program is in a mount namespace of its own. */
const INSIDE = 'SHOAL_IMAGE_CHECK_INSIDE';
/** crun does not start where both versions of control groups are mounted, as in some sandboxes. */
const SECOND_CGROUPS = '/sys/fs/cgroup/unified';
/** Without privileges an engine may set no limits but lower ones. */
const LIMITS = ['--ulimit', 'nofile=4096:4096', '--ulimit', 'nproc=4096:4096'];
/** As docker-compose.yml has it. */
const CONFINED = ['--read-only', '--tmpfs', '/tmp', '--cap-drop', 'all', '--security-opt', 'no-new-privileges'];
/** Timers of health checks belong to systemd; the check is run by hand. */
const PLACE = ['--network', 'host', '--cgroups', 'disabled', '--no-healthcheck', ...LIMITS];

/** Builds the image and runs it as docker-compose.yml does. @param base an image with Node; made here if undefined */
export function checkImage(base: string | undefined): void {
  for (const program of ['buildah', 'podman'])
    if (spawnSync(program, ['--version']).error)
      throw new Error(`${program} is missing: apt-get install buildah podman`);
  const self = [process.execPath, '--import', 'tsx', import.meta.filename, ...(base === undefined ? [] : [base])];
  const script = `umount ${SECOND_CGROUPS} && exec "$@"`;
  const command = existsSync(SECOND_CGROUPS)
    ? ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', ...self]
    : self;
  const env = { ...ENGINE_ENV, [INSIDE]: '1' };
  const { status, error } = spawnSync(command[0]!, command.slice(1), { cwd: ROOT_DIR, env, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) throw new Error('the image is not as it should be: see above');
}

async function buildAndRun(base = makeBase()): Promise<string> {
  const image = `localhost/shoal:${VERSION}`;
  engine('buildah', 'build', '--format', 'docker', '--build-arg', `NODE_IMAGE=${base}`, '--tag', image, ROOT_DIR);
  const name = `shoal-check-${process.pid}`;
  try {
    return await runImage(image, name);
  } finally {
    spawnSync('podman', ['rm', '--force', '--volumes', name], { env: ENGINE_ENV, stdio: 'ignore' });
  }
}

async function runImage(image: string, name: string): Promise<string> {
  const port = await freePort();
  const settings = ['--env', 'SHOAL_HOST=127.0.0.1', '--env', `SHOAL_PORT=${port}`];
  engine('podman', 'run', '--detach', '--name', name, ...CONFINED, ...PLACE, ...settings, image);
  const url = `http://127.0.0.1:${port}`;
  await ready(url, name);
  const seen = await rehearse(url);
  const inside = (...command: string[]): string => engine('podman', 'exec', name, ...command).trim();
  const user = inside('id', '-un');
  if (user !== 'shoal') throw new Error(`the image runs as ${user}`);
  for (const place of ['/shoal/x', '/usr/x', '/home/x']) inside('sh', '-c', `! touch ${place} 2>/dev/null`);
  inside('sh', '-c', 'for volume in /data /cache /models; do touch $volume/x || exit 1; done');
  inside('node', 'coordinator/bin/healthcheck.mjs');
  // As where --port is a range: the first process is asked where it listens.
  inside('env', 'SHOAL_PORT=1-65535', 'node', 'coordinator/bin/healthcheck.mjs');
  inside('sh', '-c', '! SHOAL_PORT=1 node coordinator/bin/healthcheck.mjs');
  inside('shoal', 'doctor', '--port', '0');
  engine('podman', 'stop', '--time', '30', name);
  const code = engine('podman', 'inspect', '--format', '{{.State.ExitCode}}', name).trim();
  if (code !== '0') throw new Error(`the coordinator ended with ${code} after SIGTERM`);
  const size = Number(engine('podman', 'image', 'inspect', '--format', '{{.Size}}', image));
  const du = engine('podman', 'run', '--rm', ...PLACE, '--entrypoint', 'du', image, '-sb', '/shoal');
  return [
    `${image}: works, version ${seen.version}, ${seen.rowsByTab} rows by the tab`,
    `  user ${user}, read-only root, no capabilities, healthy, stops on SIGTERM with code 0`,
    `  ${(size / 1e6).toFixed(0)} MB, of which Shoal and its dependencies ${(Number.parseInt(du, 10) / 1e6).toFixed(0)} MB`,
  ].join('\n');
}

/** Debian with Node, tagged for this check, for where no registry of images can be reached. Returns its name. */
function makeBase(): string {
  const tag = 'localhost/shoal-check-base';
  if (spawnSync('buildah', ['inspect', '--type', 'image', tag], { env: ENGINE_ENV }).status === 0) return tag;
  const npm = process.env.npm_execpath;
  if (npm === undefined) throw new Error('run this by npm, as npm run package -- --image');
  const folder = mkdtempSync(join(tmpdir(), 'shoal-base-'));
  try {
    const root = join(folder, 'root');
    engine('debootstrap', '--variant=minbase', '--include=ca-certificates,libstdc++6', 'bookworm', root);
    const name = `node-linux-${process.arch}`;
    engine(
      process.execPath,
      npm,
      'install',
      '--no-save',
      '--no-audit',
      '--no-fund',
      '--prefix',
      folder,
      `${name}@${NODE_MAJOR}`,
    );
    const local = join(root, 'usr/local');
    cpSync(join(folder, 'node_modules', name, 'bin/node'), join(local, 'bin/node'));
    mkdirSync(join(local, 'lib/node_modules'), { recursive: true });
    cpSync(dirname(dirname(npm)), join(local, 'lib/node_modules/npm'), { recursive: true, dereference: true });
    symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(local, 'bin/npm'));
    // This machine may have to trust more than Debian does, to reach npm's registry.
    if (existsSync(CERTIFICATES)) cpSync(CERTIFICATES, join(root, CERTIFICATES), { dereference: true });
    const container = engine('buildah', 'from', 'scratch').trim();
    engine('buildah', 'add', container, root, '/');
    const env = [
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      `NODE_EXTRA_CA_CERTS=${CERTIFICATES}`,
      `npm_config_cafile=${CERTIFICATES}`,
    ];
    engine('buildah', 'config', ...env.flatMap((each) => ['--env', each]), container);
    engine('buildah', 'commit', '--rm', container, tag);
    return tag;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Runs a program to its end, and returns what it prints. */
function engine(program: string, ...args: string[]): string {
  const options = { env: ENGINE_ENV, encoding: 'utf8', maxBuffer: 2 ** 26 } as const;
  const { status, stdout, stderr, error } = spawnSync(program, args, options);
  if (error) throw new Error(`${program} cannot be run: ${error.message}`);
  if (status !== 0)
    throw new Error(
      `${[program, ...args].join(' ')} ended with ${status}:\n${stdout.slice(-4000)}${stderr.slice(-4000)}`,
    );
  return stdout;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function ready(url: string, name: string): Promise<void> {
  const giveUpMs = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const response = await fetch(`${url}/readyz`).catch(() => undefined);
    if (response?.ok) return;
    if (performance.now() > giveUpMs) throw new Error(`the image does not serve:\n${engine('podman', 'logs', name)}`);
    await delay(500);
  }
}

if (process.env[INSIDE] !== undefined) process.stdout.write(`${await buildAndRun(process.argv[2])}\n`);
