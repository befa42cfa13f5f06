import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { io, type Socket } from 'socket.io-client';
import { hello } from '../test/integration/virtual-donor.ts';

const HELP = `usage: node --import tsx tools/balancer-check.ts [CADDY] [OPTION_OF_COORDINATORS …]

Starts three coordinators with the port ranges of docker-compose.yml, and the program CADDY ("caddy" by default) with
deploy/Caddyfile in front of them, and asks through it: whose answers a key gets, where sockets go, whether answers stream, whose
address a coordinator sees, and what happens when a coordinator is killed. Needs Linux, and root or user namespaces: all of it happens
in a network namespace of its own.
`;

const INSIDE = 'SHOAL_BALANCER_CHECK_INSIDE';
const SITE = 'http://127.0.0.1:9080';
const COORDINATORS = 3;
const KEYS = Array.from({ length: 24 }, (_, n) => `key-${n}`);
const SOCKETS = 12;
let bad = 0;

function note(what: string, result: string, ok: boolean): void {
  if (!ok) bad++;
  process.stdout.write(`${ok ? 'ok  ' : 'BAD '} ${what.padEnd(66)} ${result}\n`);
}

async function main([program = 'caddy', ...options]: string[]): Promise<number> {
  if (program === '--help') {
    process.stdout.write(HELP);
    return 0;
  }
  if (process.env[INSIDE] === undefined) return runInside();
  spawnSync('ip', ['link', 'set', 'lo', 'up']);
  const dir = mkdtempSync(join(tmpdir(), 'shoal-balancer-'));
  const started: ChildProcess[] = [];
  try {
    // One after the other the first time, since they share a cache that the first one fills.
    for (let n = 0; n < COORDINATORS; n++) started.push(await startCoordinator(n, dir, options));
    const caddy = spawn(program, ['run', '--adapter', 'caddyfile', '--config', 'deploy/Caddyfile'], {
      stdio: 'ignore',
      env: { ...process.env, SHOAL_PUBLIC_HOST: ':9080', XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir },
    });
    started.push(caddy);
    await ready();
    await check(started);
    process.stdout.write(bad === 0 ? 'all as they should be\n' : `${bad} not as they should be\n`);
    return bad === 0 ? 0 : 1;
  } finally {
    for (const child of started) child.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  }
}

function runInside(): number {
  const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, [INSIDE]: '1' };
  const { status, error } = spawnSync('unshare', ['--map-root-user', '--net', ...self], { stdio: 'inherit', env });
  if (error) throw error;
  return status ?? 1;
}

const addresses: string[] = [];

/** Each is told apart by an alias of its model. */
async function startCoordinator(n: number, dir: string, options: string[]): Promise<ChildProcess> {
  const flags = ['--port', '8787-8796', '--udp-ports', '40000-40009', '--trust-proxy', '--log-level', 'info'];
  const own = ['--cache', join(dir, 'cache'), '--model-alias', `coordinator-${n}`, ...options];
  const child = spawn(process.execPath, ['coordinator/bin/shoal.mjs', 'serve', ...flags, ...own], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  createInterface({ input: child.stderr }).on('line', (line) => {
    const { address } = line.includes('a donor joined') ? (JSON.parse(line) as { address: string }) : {};
    if (address !== undefined) addresses.push(address);
  });
  let said = '';
  for await (const line of createInterface({ input: child.stdout })) {
    said += `${line}\n`;
    if (!line.includes('Ctrl-C to stop')) continue;
    const [, port, udp] = /API +http:\S+:(\d+)\/v1[^]*UDP port (\d+)/.exec(said) ?? [];
    process.stdout.write(`     coordinator-${n} has port ${port} and UDP port ${udp}\n`);
    return child;
  }
  throw new Error(`A coordinator has ended:\n${said}`);
}

async function ready(): Promise<void> {
  const startedMs = performance.now();
  while (performance.now() - startedMs < 15_000) {
    if ((await fetch(`${SITE}/readyz`).catch(() => undefined))?.ok) break;
    await delay(100);
  }
  // Until each has been asked for its health.
  await delay(2_500);
}

/** Name of the coordinator that answers. */
async function whoAnswers(headers: Record<string, string> = {}): Promise<string> {
  const answer = await fetch(`${SITE}/v1/models`, { headers }).catch(() => undefined);
  if (!answer?.ok) return `status ${answer?.status ?? 0}`;
  return /coordinator-\d/.exec(await answer.text())![0];
}

async function check(started: ChildProcess[]): Promise<void> {
  const before = new Map<string, string>();
  for (const key of KEYS) before.set(key, await whoAnswers({ authorization: `Bearer ${key}` }));
  const again = await Promise.all(KEYS.map(async (key) => whoAnswers({ authorization: `Bearer ${key}` })));
  const shares = [0, 1, 2].map((n) => [...before.values()].filter((name) => name === `coordinator-${n}`).length);
  note(
    '24 keys are shared out',
    shares.join(' + '),
    shares.every((share) => share > 0),
  );
  note(
    'each key gets the same one again',
    '',
    again.every((name, i) => name === before.get(KEYS[i]!)),
  );
  const anthropic = new Set<string>();
  for (let n = 0; n < 6; n++) anthropic.add(await whoAnswers({ 'x-api-key': 'key-1' }));
  note('a key in x-api-key as well', [...anthropic].join(' '), anthropic.size === 1);
  await streams();
  await polls();
  const sockets = await Promise.all(Array.from({ length: SOCKETS }, () => tab()));
  const joined = await Promise.all([0, 1, 2].map((n) => tabsAt(n)));
  const even = joined.every((count) => count >= SOCKETS / COORDINATORS - 1);
  note(`${SOCKETS} tabs join by WebSocket, by least connections`, joined.join(' + '), even);
  const told = new Set(addresses);
  note(
    'a coordinator sees the address that Caddy saw, no forged one',
    [...told].join(' '),
    told.size === 1 && told.has('127.0.0.1'),
  );
  await kill(started, before, sockets);
  for (const socket of sockets) socket.close();
}

/** A stream of answers comes in pieces. */
async function streams(): Promise<void> {
  const body = JSON.stringify({ prompt: 'Once upon a time', max_tokens: 64, stream: true });
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${SITE}/v1/completions`, { method: 'POST', headers, body });
  const arrivals: number[] = [];
  for await (const _ of answer.body!) arrivals.push(performance.now());
  const overMs = arrivals.at(-1)! - arrivals[0]!;
  note(
    'an answer streams as it is written',
    `${arrivals.length} pieces over ${overMs.toFixed(0)} ms`,
    arrivals.length > 8 && overMs > 20,
  );
}

/** A browser that can't open WebSockets asks again and again, and has to reach the same coordinator. */
async function polls(): Promise<void> {
  const query = `${SITE}/socket.io/?EIO=4&transport=polling`;
  const opened = await fetch(query);
  const cookie = opened.headers.get('set-cookie')?.split(';')[0] ?? '';
  const { sid } = JSON.parse((await opened.text()).slice(1)) as { sid: string };
  let right = 0;
  for (let n = 0; n < 6; n++) {
    const post = await fetch(`${query}&sid=${sid}`, { method: 'POST', body: '40/donor,', headers: { cookie } });
    if (post.ok) right++;
  }
  note('long polling stays with one coordinator', `${right} of 6`, right === 6);
}

async function tab(): Promise<Socket> {
  const extraHeaders = { 'x-forwarded-for': '198.51.100.66' };
  const socket = io(`${SITE}/donor`, { transports: ['websocket'], forceNew: true, reconnection: false, extraHeaders });
  const token = Array.from({ length: 32 }, () => Math.floor(Math.random() * 16).toString(16)).join('');
  await socket.timeout(10_000).emitWithAck('hello', hello(token, 2 ** 26));
  return socket;
}

async function tabsAt(n: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${8787 + n}/metrics`)).text();
  return Number(
    /^shoal_peers\{[^}]*\} (\d+)$|^shoal_(?:peers|tabs) (\d+)$/m.exec(text)?.slice(1).find(Boolean) ?? Number.NaN,
  );
}

async function kill(started: ChildProcess[], before: Map<string, string>, sockets: Socket[]): Promise<void> {
  const lost = started[1]!;
  const exited = once(lost, 'exit');
  lost.kill('SIGKILL');
  await exited;
  const killedMs = performance.now();
  const after = await Promise.all(KEYS.map(async (key) => whoAnswers({ authorization: `Bearer ${key}` })));
  const ms = (performance.now() - killedMs).toFixed(0);
  const failed = after.filter((name) => !name.startsWith('coordinator-'));
  note(
    'kill -9 of one: requests right after it go elsewhere',
    `${failed.length} failed, ${ms} ms`,
    failed.length === 0,
  );
  const moved = KEYS.filter((key, i) => before.get(key) !== 'coordinator-1' && before.get(key) !== after[i]);
  note('keys of the others stay where they are', `${moved.length} moved`, moved.length === 0);
  await delay(500);
  const cut = sockets.filter((socket) => !socket.connected).length;
  note('tabs of the killed one notice, the others stay', `${cut} of ${SOCKETS}`, cut > 0 && cut < SOCKETS);
  const back = await Promise.all(Array.from({ length: cut }, () => tab()));
  note(
    'and join elsewhere',
    `${back.filter((socket) => socket.connected).length} of ${cut}`,
    back.every((socket) => socket.connected),
  );
  for (const socket of back) socket.close();
}

process.exit(await main(process.argv.slice(2)));
