// The image's health check: asks the coordinator that the container runs for /healthz, at the address that its options or the
// environment name. Plain JavaScript, since it runs every few seconds.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Arguments of the container's first process, each with a zero after it. */
const [, , commandLine = '/proc/1/cmdline'] = process.argv;
/** State of a socket in /proc/net/tcp. */
const LISTENING = '0A';

const args = readFileSync(commandLine, 'utf8').split('\0');

/** As base/options.ts reads it: a flag before the environment, and the last one of several. */
function option(name, fallback) {
  const flag = `--${name}`;
  const given = args.flatMap((arg, i) => {
    if (arg === flag) return [args[i + 1]];
    return arg.startsWith(`${flag}=`) ? [arg.slice(flag.length + 1)] : [];
  });
  return given.at(-1) || process.env[`SHOAL_${name.toUpperCase()}`] || fallback;
}

/** Where the process listens: of a range of ports it has taken a free one, and on the host's network others have theirs. */
function listeningPorts(folder) {
  const descriptors = readdirSync(join(folder, 'fd')).map((name) => {
    try {
      return readlinkSync(join(folder, 'fd', name));
    } catch {
      // Closed in the meantime.
      return '';
    }
  });
  const sockets = ['tcp', 'tcp6'].flatMap((name) => {
    try {
      return readFileSync(join(folder, 'net', name), 'utf8')
        .trim()
        .split('\n')
        .slice(1);
    } catch {
      // A machine without IPv6.
      return [];
    }
  });
  const ports = sockets.flatMap((line) => {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    const isOwn = state === LISTENING && descriptors.includes(`socket:[${inode}]`);
    return isOwn ? [Number.parseInt(local.split(':')[1], 16)] : [];
  });
  return [...new Set(ports)];
}

async function isUp(name, port) {
  const response = await fetch(`http://${name}:${port}/healthz`).catch(() => undefined);
  return response?.ok === true;
}

const host = option('host', '127.0.0.1');
// Where it listens everywhere, that includes this address.
const name = ['0.0.0.0', '::'].includes(host) ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
const given = option('port', '8787');
const ports = /^[1-9]\d*$/.test(given) ? [given] : listeningPorts(dirname(commandLine));
for (const port of ports) if (await isUp(name, port)) process.exit(0);
process.exit(1);
