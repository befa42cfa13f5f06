import { spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { TurnClient, type TurnServer } from '../coordinator/src/cli/doctor/turn-client.ts';
import { IceServers, TURN_LOGIN_MS } from '../coordinator/src/swarm/ice-servers.ts';
import { turnArguments } from './turn/compose-arguments.ts';

const HELP = `usage: node --import tsx tools/turn-check.ts TURNSERVER [COMPOSE_FILE]

Starts the program TURNSERVER (coturn's turnserver) with the arguments that the compose file gives it, and asks it, with a
donor's login, to relay to the coordinator and to everything else. Needs Linux, and root or user namespaces: all of it
happens in a network namespace of its own, where the addresses that are tried belong to this program.
`;

const INSIDE = 'SHOAL_TURN_CHECK_INSIDE';
const SECRET = 'the coordinator knows it';
const COORDINATOR = '203.0.113.7';
/** Addresses of the namespace's own interface: the coordinator's first, then what a relay must not lead to. */
const OTHERS = ['169.254.169.254', '10.1.2.3', '172.16.0.9', '192.168.1.1', '100.64.0.1', '198.51.100.9'];
const OTHERS_6 = ['fd00::5', '2001:db8::9'];
/** Not set up, since they exist or cannot: no answer is waited for. */
const SPECIAL = ['127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255'];
const SPECIAL_6 = ['::1', '::ffff:169.254.169.254', 'ff02::1'];
const ECHO_PORT = 7777;
/** Allocations asked for beyond the quota. */
const BEYOND_QUOTA = 24;
const AT_A_TIME = 8;
const WAIT_MS = 500;

interface Outcome {
  what: string;
  result: string;
  ok: boolean;
}

async function main([program, file = join(import.meta.dirname, '../docker-compose.yml')]: string[]): Promise<number> {
  if (program === undefined || program === '--help') {
    process.stdout.write(HELP);
    return program === undefined ? 2 : 0;
  }
  if (process.env[INSIDE] === undefined) return runInside();
  run('ip', 'link', 'set', 'lo', 'up');
  run('ip', 'link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'd1');
  for (const address of [COORDINATOR, ...OTHERS]) run('ip', 'addr', 'add', `${address}/32`, 'dev', 'd0');
  for (const address of OTHERS_6) run('ip', 'addr', 'add', `${address}/128`, 'dev', 'd0', 'nodad');
  for (const name of ['d0', 'd1']) run('ip', 'link', 'set', name, 'up');
  const args = turnArguments({ SHOAL_TURN_SECRET: SECRET, SHOAL_HOST_ADDRESS: COORDINATOR }, file);
  // As donors see it: the public address of the machine, which has many more here.
  const server = spawn(
    program,
    [...args, `--listening-ip=${COORDINATOR}`, `--relay-ip=${COORDINATOR}`, '--relay-ip=fd00::5', '-n'],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let log = '';
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (data: Buffer) => (log += data.toString()));
  try {
    await delay(WAIT_MS * 2);
    if (server.exitCode !== null) throw new Error(`${program} has ended:\n${log}`);
    const quota = Number(args.find((arg) => arg.startsWith('--user-quota='))?.split('=')[1] ?? Number.NaN);
    const outcomes = await check(quota);
    for (const { what, result, ok } of outcomes)
      process.stdout.write(`${ok ? 'ok  ' : 'BAD '} ${what.padEnd(58)} ${result}\n`);
    const bad = outcomes.filter(({ ok }) => !ok).length;
    process.stdout.write(`${outcomes.length - bad} of ${outcomes.length} as they should be, with: ${args.join(' ')}\n`);
    return bad === 0 ? 0 : 1;
  } finally {
    server.kill();
  }
}

/** This program again, in a network namespace of its own. */
function runInside(): number {
  const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const { status, error } = spawnSync('unshare', ['--map-root-user', '--net', ...self], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '1' },
  });
  if (error) throw error;
  return status ?? 1;
}

function run(program: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
}

async function check(quota: number): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const note = (what: string, result: number | string, ...wanted: (number | string)[]): void => {
    outcomes.push({ what, result: result === 0 ? 'allowed' : `${result}`, ok: wanted.includes(result) });
  };
  const server = serverFor('a donor');
  await echoAt([COORDINATOR, ...OTHERS, ...OTHERS_6]);

  const client = await TurnClient.overUdp(server, COORDINATOR);
  note('a UDP relay', await client.allocate('udp'), 0);
  note(`permission to the coordinator, ${COORDINATOR}`, await client.createPermission(COORDINATOR), 0);
  note(`data to the coordinator and back`, await echoed(client, COORDINATOR), 'echoed');
  for (const peer of [...OTHERS, ...SPECIAL]) {
    note(`permission to ${peer}`, await client.createPermission(peer), 403);
    note(`channel to ${peer}`, await client.bindChannel(peer, ECHO_PORT), 403);
  }
  for (const peer of OTHERS) note(`data to ${peer}`, await echoed(client, peer), 'nothing came back');
  client.close();

  const sixth = await TurnClient.overUdp(server, COORDINATOR);
  const allocated = await sixth.allocate('udp', 6);
  note('a UDP relay for IPv6', allocated, 0, 440);
  if (allocated === 0)
    for (const peer of [...OTHERS_6, ...SPECIAL_6])
      note(`permission to ${peer}`, await sixth.createPermission(peer), 403);
  sixth.close();

  const tcp = await TurnClient.overTcp(server);
  const relay = await tcp.allocate('tcp');
  note('a TCP relay', relay, 403, 442);
  // Without an allocation the request is out of place.
  for (const peer of [COORDINATOR, ...OTHERS])
    note(`connection to ${peer}`, await tcp.connect(peer, ECHO_PORT), 403, 437);
  tcp.close();

  const stranger = await TurnClient.overUdp({ ...server, password: 'guessed' }, COORDINATOR);
  note('a relay with a wrong password', await stranger.allocate('udp'), 401);
  stranger.close();
  const late = await TurnClient.overUdp(serverFor('a donor', new Date(Date.now() - 2 * TURN_LOGIN_MS)), COORDINATOR);
  note('a relay with a login of two days ago', await late.allocate('udp'), 401);
  late.close();
  const tries = quota + BEYOND_QUOTA;
  const many: number[] = [];
  // A few at a time, since UDP loses what nobody reads soon.
  while (many.length < tries)
    many.push(...(await Promise.all(Array.from({ length: AT_A_TIME }, () => allocateOne(server)))));
  // The quota counts those made above too, which the server keeps for a while.
  const given = many.filter((code) => code === 0).length;
  note(`relays given to one donor of ${tries} asked for`, given, ...Array.from({ length: 4 }, (_, n) => quota - n));
  note('code of the others', [...new Set(many.filter((code) => code !== 0))].join(' '), '486');
  const other = await TurnClient.overUdp(serverFor('another donor'));
  note('a relay for another donor', await other.allocate('udp'), 0);
  other.close();
  return outcomes;
}

/** As the coordinator sends it to a donor's tab. */
function serverFor(donor: string, now = new Date()): TurnServer {
  const [{ username = '', credential: password = '' } = {}] = new IceServers([{ urls: 'turn:x' }], SECRET).forDonor(
    donor,
    now,
  );
  return { address: COORDINATOR, port: 3478, username, password };
}

async function allocateOne(server: TurnServer): Promise<number> {
  return (await TurnClient.overUdp(server, COORDINATOR)).allocate('udp');
}

/** Sends back what arrives at these addresses, by UDP and by TCP. */
async function echoAt(addresses: readonly string[]): Promise<void> {
  for (const address of addresses) {
    const udp = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    udp.on('message', (data, { port, address: from }) => udp.send(data, port, from));
    udp.bind(ECHO_PORT, address);
    await once(udp, 'listening');
    udp.unref();
    const tcp = createServer((socket) => void socket.on('error', () => {}).pipe(socket));
    tcp.listen(ECHO_PORT, address).unref();
    await once(tcp, 'listening');
  }
}

async function echoed(client: TurnClient, peer: string): Promise<'echoed' | 'nothing came back'> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve('nothing came back'), WAIT_MS);
    client.onData = () => {
      clearTimeout(timer);
      resolve('echoed');
    };
    client.send(peer, ECHO_PORT, Buffer.from('hello'));
  });
}

process.exit(await main(process.argv.slice(2)));
