import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';
import { covered, until } from '../integration/virtual-donor.ts';
import { ProcessTab } from '../tabs/process-tab.ts';
import { EndlessAnswers } from './endless-answers.ts';
import { IdlePeers } from './idle-peers.ts';
import { FULL_PACE } from './rig.ts';
import { formatHeldRows, type HeldRow } from './table.ts';

/** With the two that work, all places of a swarm. */
const IDLE_PEERS = 500;
const PROCESSES = 5;
const STREAMS = 16;
/** All experts of the default model fit. */
const PLEDGE_BYTES = 64 * 2 ** 20;
const JOIN_TIMEOUT_MS = 8 * 60_000;
const SETTLE_MS = 5_000;
const MEASURED_MS = 30_000;
const LOOP_RESOLUTION_MS = 1;
const MOST_LOOP_P99_MS = 20;

interface Measured {
  peers: number;
  tokensPerSecond: number;
  loopP99Ms: number;
  loopMaxMs: number;
  failed: number;
}

/** How much 500 idle tabs cost a coordinator that answers 16 streams through two others. */
export async function benchCapacity({ json }: { json: boolean }): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-capacity-'));
  const accessFile = join(folder, 'access.json');
  // All tabs have one address here.
  writeFileSync(accessFile, JSON.stringify({ limits: { peersPerAddress: 1000, joinsPerMinutePerAddress: 100_000 } }), {
    mode: 0o600,
  });
  const coordinator = await startTinyCoordinator({ accessFile, maxBatch: STREAMS });
  const working: ProcessTab[] = [];
  const idle: IdlePeers[] = [];
  try {
    for (let i = 0; i < 2; i++) {
      const tab = await ProcessTab.open();
      working.push(tab);
      tab.lend({ url: coordinator.url, pledgeBytes: PLEDGE_BYTES, seed: i, measured: FULL_PACE });
    }
    await until('two tabs to serve', () => coordinator.swarm.peers.length === 2 && covered(coordinator), 60_000);
    const bytesBefore = await settledBytes();
    for (let i = 0; i < PROCESSES; i++) {
      idle.push(
        await IdlePeers.open({ url: coordinator.url, count: IDLE_PEERS / PROCESSES, pledgeBytes: PLEDGE_BYTES }),
      );
    }
    const joined = (): number => idle.reduce((sum, process) => sum + process.joined, 0);
    await until('all tabs to join', () => joined() === IDLE_PEERS, JOIN_TIMEOUT_MS);
    const bytesPerPeer = ((await settledBytes()) - bytesBefore) / IDLE_PEERS;
    const withIdle = await measure(coordinator);
    await Promise.all(idle.map((process) => process.close()));
    await until('the idle tabs to leave', () => coordinator.swarm.peers.length === 2, 60_000);
    const result = { withIdle, without: await measure(coordinator), bytesPerPeer };
    if (json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    else process.stdout.write(`${formatHeldRows(rows(result))}\n`);
  } finally {
    await Promise.all([...working, ...idle].map((process) => process.close()));
    await coordinator.close();
    rmSync(folder, { recursive: true });
  }
}

/** Resident memory without garbage. */
async function settledBytes(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  await delay(SETTLE_MS);
  collect();
  await delay(SETTLE_MS);
  return process.memoryUsage().rss;
}

async function measure(coordinator: Coordinator): Promise<Measured> {
  const streams = new EndlessAnswers(coordinator, STREAMS);
  await delay(SETTLE_MS);
  const loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
  loop.enable();
  const tokensPerSecond = await streams.rate(MEASURED_MS);
  loop.disable();
  await streams.end();
  const beyondTimer = (ns: number): number => ns / 1e6 - LOOP_RESOLUTION_MS;
  return {
    peers: coordinator.swarm.peers.length,
    tokensPerSecond,
    loopP99Ms: beyondTimer(loop.percentile(99)),
    loopMaxMs: beyondTimer(loop.max),
    failed: streams.failed,
  };
}

interface Result {
  withIdle: Measured;
  without: Measured;
  bytesPerPeer: number;
}

function rows({ withIdle, without, bytesPerPeer }: Result): HeldRow[] {
  const ms = (value: number): string => `${value.toFixed(1)} ms`;
  return [
    { figure: 'tabs in the swarm', measured: String(withIdle.peers), reference: '≥ 500', met: withIdle.peers >= 500 },
    {
      figure: `event loop's delay, p99, ${STREAMS} streams`,
      measured: ms(withIdle.loopP99Ms),
      reference: `< ${MOST_LOOP_P99_MS} ms; with ${without.peers} tabs ${ms(without.loopP99Ms)}`,
      met: withIdle.loopP99Ms < MOST_LOOP_P99_MS,
    },
    {
      figure: 'longest delay',
      measured: ms(withIdle.loopMaxMs),
      reference: `with ${without.peers} tabs ${ms(without.loopMaxMs)}`,
    },
    {
      figure: 'tokens/s',
      measured: withIdle.tokensPerSecond.toFixed(0),
      reference: `with ${without.peers} tabs ${without.tokensPerSecond.toFixed(0)}`,
    },
    {
      figure: 'memory of an idle tab',
      measured: `${(bytesPerPeer / 1024).toFixed(0)} KiB`,
      reference: 'resident, at the coordinator',
    },
    { figure: 'answers that failed', measured: String(withIdle.failed), reference: '0', met: withIdle.failed === 0 },
  ];
}
