// The image's health check: asks the coordinator that the container runs for /healthz, at the address that its options or the
// environment name. Plain JavaScript, since it runs every few seconds.
import { readFileSync } from 'node:fs';

/** Arguments of the container's first process, each with a zero after it. */
const [, , commandLine = '/proc/1/cmdline'] = process.argv;

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

const host = option('host', '127.0.0.1');
// Where it listens everywhere, that includes this address.
const name = ['0.0.0.0', '::'].includes(host) ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
const response = await fetch(`http://${name}:${option('port', '8787')}/healthz`).catch(() => undefined);
process.exit(response?.ok ? 0 : 1);
