import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MAX_LAP_CONNECTIONS } from '@shoal/protocol';
import { parse } from 'yaml';
import { Access } from './access/access.ts';
import { reachableFor } from './base/networks.ts';
import type { PortRange } from './base/option-values.ts';
import { variableOf } from './base/options.ts';
import { CONFIG_OPTIONS, parseConfig, ROOT_DIR } from './config.ts';

interface Service {
  network_mode?: string;
  user?: string;
  ports?: string[];
  healthcheck?: { test: string[] };
  depends_on?: Record<string, { condition: string }>;
  environment?: Record<string, string>;
  command?: string[];
  cap_drop: string[];
  cap_add?: string[];
  security_opt: string[];
  read_only: boolean;
  stop_grace_period: string;
  tmpfs: string[];
  volumes?: string[];
  privileged?: boolean;
}

const file = readFileSync(join(ROOT_DIR, 'docker-compose.yml'), 'utf8');
const { services, volumes } = parse(file, { merge: true }) as {
  services: Record<'coordinator' | 'caddy' | 'postgres' | 'coturn', Service>;
  volumes: Record<string, null>;
};
const caddyfile = readFileSync(join(ROOT_DIR, 'deploy/Caddyfile'), 'utf8');

/** In place of the image's. */
const SHOAL_MODEL = join(ROOT_DIR, 'models/tiny-stories');
/** Tabs of a full swarm: DEFAULT_MAX_PEERS in swarm/entrance.ts. */
const FULL_SWARM = 512;
/** `tabsPerDonor` by default. */
const TABS_OF_A_DONOR = 8;
/** What an operator has to set. */
const GIVEN: Record<string, string> = {
  SHOAL_ADMIN_TOKEN: 'a password of my own',
  SHOAL_PUBLIC_HOST: 'shoal.example.org',
  SHOAL_TURN_SECRET: 'another password of my own',
  SHOAL_DATABASE_PASSWORD: 'athird0123',
  SHOAL_HOST_ADDRESS: '203.0.113.7',
};

/** A variable whose default, if it has one, holds no variable. */
const INNERMOST = /\$\{(\w+)(?::-([^${}]*)|:\?([^${}]*))?\}/;

/** Puts values for variables, as docker compose does for `${NAME}`, `${NAME:-default}` and `${NAME:?error}`. */
function filledIn(text: string, given: Record<string, string>): string {
  const fill = (of: string): string =>
    of.replace(INNERMOST, (_, name: string, fallback?: string, error?: string) => {
      const value = given[name] || fallback;
      if (value === undefined) throw new Error(error ?? `${name} is not set`);
      return value;
    });
  let filled = text;
  while (INNERMOST.test(filled)) filled = fill(filled);
  return filled;
}

function environment(given: Record<string, string>): Record<string, string> {
  const entries = Object.entries(services.coordinator.environment!);
  return Object.fromEntries(entries.map(([name, value]) => [name, filledIn(`${value}`, given)]));
}

/** By flag, the values of coturn's arguments. */
const turn = new Map<string, string[]>();
for (const argument of services.coturn.command!) {
  const [flag, value = ''] = argument.split(/=(.*)/s);
  turn.set(flag!, [...(turn.get(flag!) ?? []), value]);
}

describe('docker-compose.yml', () => {
  it.each(Object.entries(services))('gives %s no rights of root and no disk but its volumes', (name, service) => {
    expect(service).toMatchObject({
      cap_drop: ['ALL'],
      security_opt: ['no-new-privileges:true'],
      read_only: true,
      tmpfs: expect.arrayContaining(['/tmp']),
      restart: 'unless-stopped',
    });
    expect(service.privileged).toBeUndefined();
    expect(service.cap_add).toEqual(['coturn', 'caddy'].includes(name) ? ['NET_BIND_SERVICE'] : undefined);
    // Of this machine's disk, only files of this repository, and none of them can be written to.
    for (const volume of service.volumes ?? []) {
      const [source = '', , access] = filledIn(volume, GIVEN).split(':');
      if (source.startsWith('.')) expect([existsSync(join(ROOT_DIR, source)), access]).toEqual([true, 'ro']);
      else expect(Object.keys(volumes)).toContain(source);
    }
    // The default of 0.0.0.0 would open a database to every network.
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  it('can be scaled: no coordinator has a name, a port or a volume that another could not have too', () => {
    const { coordinator, caddy, postgres } = services;
    expect(coordinator).not.toHaveProperty('container_name');
    expect(coordinator.ports).toBeUndefined();
    const config = parseConfig([], environment({ ...GIVEN, SHOAL_MODEL }));
    const { port, udpPorts } = config as { port: PortRange; udpPorts: PortRange };
    const database = new URL(environment(GIVEN)['SHOAL_DATABASE']!);
    expect([database.hostname, database.port, database.password]).toEqual([
      '127.0.0.1',
      '5432',
      GIVEN['SHOAL_DATABASE_PASSWORD'],
    ]);
    expect(udpPorts.last - udpPorts.first).toBe(port.last - port.first);
    const upstreams = Array.from(caddyfile.matchAll(/ 127\.0\.0\.1:(\d+)/g), ([, of]) => Number(of));
    expect(upstreams).toEqual(Array.from({ length: port.last - port.first + 1 }, (_, n) => port.first + n));
    expect([coordinator.network_mode, caddy.network_mode]).toEqual(['host', 'host']);
    expect(coordinator.depends_on).toEqual({ postgres: { condition: 'service_healthy' } });
    expect(postgres).toMatchObject({ user: 'postgres', healthcheck: { test: expect.arrayContaining(['pg_isready']) } });
  });

  it('listens on this machine only, unless the operator asks for more', () => {
    expect(parseConfig([], environment({ ...GIVEN, SHOAL_MODEL })).host).toBe('127.0.0.1');
    const open = { ...GIVEN, SHOAL_MODEL, SHOAL_HOST: '0.0.0.0' };
    expect(parseConfig([], environment(open)).host).toBe('0.0.0.0');
  });

  it('knows donors behind the proxy on this machine by their own addresses, which lead to nothing of this network', () => {
    const addressOf = (given: Record<string, string>, from: string, forwardedFor: string): string => {
      const { trustProxy } = parseConfig([], environment({ ...GIVEN, SHOAL_MODEL, ...given }));
      const headers = { 'x-forwarded-for': forwardedFor };
      return new Access({ trustProxy }).addressOf({ headers, socket: { remoteAddress: from } });
    };
    const donors = ['198.51.100.1', '198.51.100.2'].map((donor) => addressOf({}, '127.0.0.1', donor));
    expect(donors).toEqual(['198.51.100.1', '198.51.100.2']);
    for (const target of ['127.0.0.1', '192.168.1.1'])
      expect(reachableFor(donors[0]!, ['192.168.1.2'])(target), target).toBe(false);
    const open = { SHOAL_HOST: '0.0.0.0', SHOAL_TRUST_PROXY: '0' };
    expect(addressOf(open, '198.51.100.9', '127.0.0.1')).toBe('198.51.100.9');
  });

  it('sets options that exist, and refuses to start without a password, a name or an address', () => {
    const known = new Set([
      ...Object.values(CONFIG_OPTIONS).map(variableOf),
      'HF_TOKEN',
      'HF_ENDPOINT',
      'HF_HUB_OFFLINE',
    ]);
    expect(Object.keys(services.coordinator.environment!).filter((name) => !known.has(name))).toEqual([]);
    const { iceServers } = parseConfig([], environment({ ...GIVEN, SHOAL_MODEL }));
    const urls = [
      'stun:shoal.example.org:3478',
      'turn:shoal.example.org:3478?transport=udp',
      'turn:shoal.example.org:3478?transport=tcp',
    ];
    expect(iceServers).toEqual([{ urls }]);
    const turns = 'turns:shoal.example.org:5349?transport=tcp';
    const secure = parseConfig([], environment({ ...GIVEN, SHOAL_MODEL, SHOAL_TURNS: `,"${turns}"` }));
    expect(secure.iceServers).toEqual([{ urls: [...urls, turns] }]);
    for (const name of Object.keys(GIVEN)) {
      const { [name]: _, ...rest } = GIVEN;
      expect(() => filledIn(file, rest)).toThrow(`set ${name}`);
    }
  });

  // What these arguments do in coturn is measured by tools/turn-check.ts (docs/measurements/turn.md).
  it('lets the relay lead to the coordinator by UDP, and nowhere else', () => {
    expect(turn.get('--denied-peer-ip')).toEqual([
      '0.0.0.0-255.255.255.255',
      '::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
    ]);
    expect(turn.get('--allowed-peer-ip')).toEqual([expect.stringContaining('${SHOAL_HOST_ADDRESS:?')]);
    for (const flag of ['--no-tcp-relay', '--no-multicast-peers', '--use-auth-secret', '--no-cli'])
      expect(turn.get(flag), flag).toEqual(['']);
    for (const flag of [
      '--allow-loopback-peers',
      '--no-auth',
      '--no-udp-relay',
      '--web-admin',
      '--verbose',
      '--user',
      '--lt-cred-mech',
      '--no-tcp',
    ])
      expect(turn.has(flag), flag).toBe(false);
    // The coordinator makes logins from the same secret.
    expect(filledIn(turn.get('--static-auth-secret')![0]!, GIVEN)).toBe(GIVEN['SHOAL_TURN_SECRET']);
    expect(parseConfig([], environment({ ...GIVEN, SHOAL_MODEL })).turnSecret).toBe(GIVEN['SHOAL_TURN_SECRET']);
  });

  it('bounds what the relay takes: allocations by its ports, and bandwidth by allocations', () => {
    const number = (flag: string): number => Number(turn.get(flag)![0]);
    const ports = number('--max-port') - number('--min-port') + 1;
    expect(number('--total-quota')).toBeGreaterThan(0);
    // coturn picks ports at random, and stood still when nearly all were taken.
    expect(number('--total-quota')).toBeLessThanOrEqual(0.9 * ports);
    expect(number('--user-quota')).toBeGreaterThan(0);
    // Each tab's browser makes one for each URL, whether it needs it or not.
    const { iceServers } = parseConfig([], environment({ ...GIVEN, SHOAL_MODEL }));
    const turns = iceServers.flatMap(({ urls }) => urls).filter((url) => url.startsWith('turn')).length + 1;
    expect(number('--total-quota')).toBeGreaterThanOrEqual(turns * FULL_SWARM);
    expect(number('--user-quota')).toBeGreaterThanOrEqual(turns * TABS_OF_A_DONOR * MAX_LAP_CONNECTIONS);
    expect(number('--user-quota')).toBeLessThanOrEqual(number('--total-quota') / 8);
    // A session that no capacity is left for would get none, or no limit.
    expect(number('--bps-capacity')).toBe(number('--max-bps') * number('--total-quota'));
  });
});

describe('the image', () => {
  const [program, ...args] = JSON.parse(
    /HEALTHCHECK.* CMD (\[.*\])\n/.exec(readFileSync(join(ROOT_DIR, 'Dockerfile'), 'utf8'))![1]!,
  ) as [string, ...string[]];

  it.each<[status: number, at: string, flags: string[], variables: Record<string, string>, code: number]>([
    [200, '127.0.0.1', [], { SHOAL_PORT: 'PORT' }, 0],
    [200, '127.0.0.1', [], { SHOAL_PORT: 'PORT', SHOAL_HOST: '0.0.0.0' }, 0],
    [200, '127.0.0.2', [], { SHOAL_PORT: 'PORT', SHOAL_HOST: '127.0.0.2' }, 0],
    [503, '127.0.0.1', [], { SHOAL_PORT: 'PORT', SHOAL_HOST: '127.0.0.1' }, 1],
    [200, '127.0.0.1', ['--port', 'PORT'], { SHOAL_PORT: '1' }, 0],
    [200, '127.0.0.2', ['--port=PORT', '--host=127.0.0.2'], { SHOAL_PORT: '1', SHOAL_HOST: '0.0.0.0' }, 0],
    [200, '127.0.0.1', ['--port', '1', '--port', 'PORT'], {}, 0],
  ])(
    'asks the coordinator for its health where it listens (%i at %s for %j, %j)',
    async (status, at, flags, given, code) => {
      const server = createServer(({ url }, response) => response.writeHead(url === '/healthz' ? status : 404).end());
      server.listen(0, at);
      await once(server, 'listening');
      const port = `${(server.address() as AddressInfo).port}`;
      const file = join(mkdtempSync(join(tmpdir(), 'shoal-health-')), 'cmdline');
      const command = ['node', 'coordinator/bin/shoal.mjs', 'serve', ...flags, ''];
      writeFileSync(file, command.join('\0').replace('PORT', port));
      const variables = Object.fromEntries(
        Object.entries(given).map(([name, value]) => [name, value.replace('PORT', port)]),
      );
      const env = { PATH: process.env['PATH'], ...variables };
      const asked = spawn(program, [...args, file], { cwd: ROOT_DIR, env, stdio: 'inherit' });
      expect(await once(asked, 'exit')).toEqual([code, null]);
      server.close();
      rmSync(dirname(file), { recursive: true });
    },
  );

  // As in a container: a process of a range of ports has taken one, and only Linux tells which.
  if (process.platform === 'linux')
    it('asks where the first process listens if it was given a range', async () => {
      const server = createServer((_, response) => response.writeHead(status).end());
      let status = 200;
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const ask = async (): Promise<unknown> => {
        const env = { PATH: process.env['PATH'], SHOAL_PORT: '1-65535' };
        return (
          await once(spawn(program, [...args, `/proc/${process.pid}/cmdline`], { cwd: ROOT_DIR, env }), 'exit')
        )[0];
      };
      expect(await ask()).toBe(0);
      status = 503;
      expect(await ask()).toBe(1);
      server.close();
    });

  it('is given longer to stop than answers have to finish and connections to close', () => {
    const seconds = Number(/^(\d+)s$/.exec(services.coordinator.stop_grace_period)![1]);
    expect(1000 * seconds).toBeGreaterThanOrEqual(
      parseConfig([], environment({ ...GIVEN, SHOAL_MODEL })).drainTimeoutMs + 5_000,
    );
  });
});
