import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { INSIDE, Namespaces, PUBLIC } from './network/namespaces.ts';
import { turnArguments } from './turn/compose-arguments.ts';

const HELP = `usage: node --import tsx tools/network-check.ts [TURNSERVER]

Lets a tab join a coordinator through networks as operators and donors have them (only TCP forwarded, one UDP port forwarded, UDP
blocked, a TURN server over TCP), and prints what becomes of it and what page and console say. TURNSERVER is coturn's program,
"turnserver" by default. Needs Linux, root and iptables: all of it happens in network namespaces of its own.
`;

const ROOT = join(import.meta.dirname, '..');
const HTTP_PORT = 8787;
const UDP_PORT = 40_000;
const TURN_PORT = 3478;
const SECRET = 'only for this check 0123456789';
const JOINED = new Set(['working', 'waiting', 'testing', 'downloading']);
const LIMIT_MS = 40_000;
const LOG_MS = 500;

interface Case {
  name: string;
  flags: string[];
  udpForwarded?: boolean;
  udpBlocked?: boolean;
  turn?: 'runs' | 'another secret' | 'missing';
  /** `joins`, or the code of the cause. */
  expected: string;
}

const ICE = [{ urls: [`turn:${PUBLIC}:${TURN_PORT}?transport=udp`, `turn:${PUBLIC}:${TURN_PORT}?transport=tcp`] }];
const TURN_FLAGS = ['--ice-servers', JSON.stringify(ICE), '--turn-secret', SECRET];
const UDP_FLAGS = ['--udp-ports', `${UDP_PORT}`, '--announce', PUBLIC];

const CASES: Case[] = [
  { name: 'only TCP forwarded (docker run -p)', flags: [], expected: 'no-udp' },
  {
    name: 'one UDP port forwarded, own address told',
    flags: ['--udp-ports', `${UDP_PORT}`],
    udpForwarded: true,
    expected: 'no-udp',
  },
  { name: 'one UDP port forwarded, public address announced', flags: UDP_FLAGS, udpForwarded: true, expected: 'joins' },
  {
    name: 'the same, and the donor’s network blocks UDP',
    flags: UDP_FLAGS,
    udpForwarded: true,
    udpBlocked: true,
    expected: 'no-udp',
  },
  { name: 'UDP blocked, TURN over TCP', flags: TURN_FLAGS, udpBlocked: true, turn: 'runs', expected: 'joins' },
  {
    name: 'UDP blocked, TURN with another secret',
    flags: TURN_FLAGS,
    udpBlocked: true,
    turn: 'another secret',
    expected: 'relay-refused',
  },
  {
    name: 'UDP blocked, TURN server not running',
    flags: TURN_FLAGS,
    udpBlocked: true,
    turn: 'missing',
    expected: 'relay-silent',
  },
  {
    name: 'UDP blocked, TURN does not lead to the announced address',
    flags: [...UDP_FLAGS, ...TURN_FLAGS],
    udpForwarded: true,
    udpBlocked: true,
    turn: 'runs',
    expected: 'relay-dead-end',
  },
];

async function main([program = 'turnserver']: string[]): Promise<number> {
  if (program === '--help') {
    process.stdout.write(HELP);
    return 0;
  }
  let bad = 0;
  for (const each of CASES) {
    const { result, ms, texts } = await tried(each, program);
    const ok = result === each.expected;
    if (!ok) bad++;
    process.stdout.write(`${ok ? 'ok  ' : 'BAD '} ${each.name}: ${result} after ${(ms / 1000).toFixed(1)} s\n`);
    for (const text of texts) process.stdout.write(`       ${text}\n`);
  }
  process.stdout.write(`${CASES.length - bad} of ${CASES.length} as they should be\n`);
  return bad === 0 ? 0 : 1;
}

async function tried(each: Case, turnProgram: string): Promise<{ result: string; ms: number; texts: string[] }> {
  const network = new Namespaces();
  const cache = mkdtempSync(join(tmpdir(), 'shoal-network-'));
  try {
    network.forward('tcp', HTTP_PORT);
    network.forward('tcp', TURN_PORT);
    if (each.udpForwarded) network.forward('udp', UDP_PORT);
    if (each.udpBlocked) network.blockUdp();
    if (each.turn === 'runs' || each.turn === 'another secret') {
      const secret = each.turn === 'runs' ? SECRET : 'not the coordinator’s';
      const args = turnArguments({ SHOAL_TURN_SECRET: secret, SHOAL_HOST_ADDRESS: INSIDE });
      network.start('coordinator', [turnProgram, ...args, `--listening-ip=${INSIDE}`, `--relay-ip=${INSIDE}`, '-n']);
    }
    const log = await startCoordinator(network, each.flags, cache);
    const { result, problem, ms } = await joined(network);
    if (result !== 'no-channel') return { result, ms, texts: problem ? [problem] : [] };
    await delay(LOG_MS);
    const found = log().find((line) => line.includes('found no way'));
    const { code, facts } = found
      ? (JSON.parse(found) as { code: string; facts: unknown })
      : { code: 'not told', facts: undefined };
    return { result: code, ms, texts: [problem!, `measured: ${JSON.stringify(facts)}`] };
  } finally {
    network.close();
    rmSync(cache, { recursive: true });
  }
}

/** Returns the call that gives the lines of its log. */
async function startCoordinator(network: Namespaces, flags: string[], cache: string): Promise<() => string[]> {
  const serve = ['coordinator/bin/shoal.mjs', 'serve', '--host', '0.0.0.0', '--port', `${HTTP_PORT}`, '--cache', cache];
  const child = network.start('coordinator', [process.execPath, ...serve, '--log-level', 'warn', ...flags]);
  const lines: string[] = [];
  createInterface({ input: child.stderr! }).on('line', (line) => lines.push(line));
  for await (const line of createInterface({ input: child.stdout! }))
    if (line.includes('Ctrl-C to stop')) return () => lines;
  throw new Error(`The coordinator has ended:\n${lines.join('\n')}`);
}

async function joined(network: Namespaces): Promise<{ result: string; problem?: string; ms: number }> {
  const url = `http://${PUBLIC}:${HTTP_PORT}`;
  const tab = network.start('tab', [process.execPath, '--import', 'tsx', join(ROOT, 'tools/network/tab.ts'), url]);
  tab.stderr!.resume();
  const timer = setTimeout(() => tab.kill('SIGKILL'), LIMIT_MS);
  let startedMs = performance.now();
  for await (const line of createInterface({ input: tab.stdout! })) {
    const { phase, problem } = JSON.parse(line) as { phase: string; problem?: Record<string, string> };
    const ms = performance.now() - startedMs;
    if (phase === 'connecting' && !problem) startedMs = performance.now();
    if (JOINED.has(phase)) return end({ result: 'joins', ms });
    if (!problem) continue;
    const { code, happened, todo, detail } = problem;
    return end({ result: code!, problem: `page: ${happened} ${todo} ${detail}`, ms });
  }
  await once(tab, 'exit');
  return end({ result: 'nothing', ms: LIMIT_MS });

  function end<T>(value: T): T {
    clearTimeout(timer);
    tab.kill('SIGKILL');
    return value;
  }
}

process.exit(await main(process.argv.slice(2)));
