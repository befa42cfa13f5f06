import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { MAX_PLEDGE_BYTES } from '@shoal/protocol';
import type { Worker } from 'node:worker_threads';
import { startTypescriptThread } from '@shoal/weights/node';
import { type Adversary, ADVERSARIES } from '../chaos/adversaries.ts';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { covered, until } from '../integration/virtual-donor.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';
import { ProcessTab } from '../tabs/process-tab.ts';
import { HOSTILE_REQUESTS, type HostileRequest, type HostileRequestOptions } from './hostile-requests.ts';
import { FULL_PACE } from './rig.ts';
import { EndlessAnswers } from './endless-answers.ts';
import { formatTable } from './table.ts';

const STREAMS = 16;
const PLEDGE_BYTES = 64 * 2 ** 20;
const JOIN_TIMEOUT_MS = 60_000;
/** Between the adversary's arrival and the first token that counts. */
const SETTLE_MS = 10_000;
const MEASURED_MS = 20_000;
const HEALTHY_MS = 8_000;
/** From when it began to do harm. */
const GONE_TIMEOUT_MS = 60_000;

interface Fate {
  hostile: Adversary | HostileRequest;
  /** Tokens a second without it, from its arrival to 10 s after, and from then on. */
  healthy: number;
  atFirst: number;
  afterwards: number;
  /** From its arrival until it has no experts and no place for 5 s; undefined if it is still there after a minute. */
  goneMs: number | undefined;
  loopP99Ms: number;
  failed: number;
  fileHandles: number;
  /** Grown by, in MiB, since before it arrived. */
  memory: number;
}

/** Somebody hostile: begins, and says whether it is still there. */
interface Attack {
  begin(coordinator: Coordinator): void;
  isPresent(coordinator: Coordinator): boolean;
  end(): Promise<void>;
}

/** Measures what one hostile donor beside one honest one, or one hostile client, does to 16 streams. */
export async function benchHostile({ json, only }: { json: boolean; only?: string | undefined }): Promise<void> {
  const fates: Fate[] = [];
  for (const hostile of [...ADVERSARIES, ...HOSTILE_REQUESTS]) {
    if (only !== undefined && !hostile.includes(only)) continue;
    const fate = await measure(hostile);
    fates.push(fate);
    process.stderr.write(`${JSON.stringify(fate)}\n`);
  }
  if (json) process.stdout.write(`${JSON.stringify(fates, null, 2)}\n`);
  else process.stdout.write(`${table(fates)}\n`);
}

async function hostileDonor(adversary: Adversary): Promise<Attack> {
  const tab = await ProcessTab.open();
  const pledgeBytes = adversary === 'never loads' ? MAX_PLEDGE_BYTES : PLEDGE_BYTES;
  return {
    begin: ({ url }) => tab.lend({ url, pledgeBytes, seed: 2, measured: FULL_PACE, adversary }),
    isPresent: ({ swarm }) => swarm.peers.some((peer) => peer.donorId === tab.donorId),
    end: () => tab.close(),
  };
}

function hostileClient(kind: HostileRequest): Attack {
  let thread: Worker | undefined;
  return {
    begin({ url, packed }) {
      const workerData: HostileRequestOptions = { kind, url, shard: Object.values(packed.manifest.shards)[0]![0]! };
      thread = startTypescriptThread(new URL('hostile-requests.ts', import.meta.url), workerData);
    },
    isPresent: () => thread !== undefined,
    end: async () => void (await thread?.terminate()),
  };
}

async function measure(hostile: Fate['hostile']): Promise<Fate> {
  const isDonor = (kind: Fate['hostile']): kind is Adversary => ADVERSARIES.some((known) => known === kind);
  const coordinator = await startTinyCoordinator({ replicas: 2, maxBatch: STREAMS });
  const honest = await ProcessTab.open();
  const attack = isDonor(hostile) ? await hostileDonor(hostile) : hostileClient(hostile);
  const { url, swarm } = coordinator;
  try {
    honest.lend({ url, pledgeBytes: PLEDGE_BYTES, seed: 1, measured: FULL_PACE });
    await until('the honest tab to serve', () => swarm.peers.length === 1 && covered(coordinator), JOIN_TIMEOUT_MS);
    const streams = new EndlessAnswers(coordinator, STREAMS);
    await streams.rate(HEALTHY_MS / 2);
    const healthy = await streams.rate(HEALTHY_MS);
    const before = { files: openFiles(), bytes: process.memoryUsage().rss };
    const during = await suffer(attack, coordinator, streams, isDonor(hostile));
    await attack.end();
    await streams.end();
    await delay(1_000);
    const { failed } = streams;
    const memory = (process.memoryUsage().rss - before.bytes) / 2 ** 20;
    return { hostile, healthy, ...during, failed, fileHandles: openFiles() - before.files, memory };
  } finally {
    await Promise.all([honest.close(), attack.end()]);
    await coordinator.close();
  }
}

/** The streams while the attack goes on: a donor's until it is gone. */
async function suffer(attack: Attack, coordinator: Coordinator, streams: EndlessAnswers, untilGone: boolean) {
  const loop = monitorEventLoopDelay({ resolution: 1 });
  loop.enable();
  const startedMs = performance.now();
  attack.begin(coordinator);
  let lastSeenMs = Number.NaN;
  const watch = setInterval(() => attack.isPresent(coordinator) && (lastSeenMs = performance.now()), 50);
  const atFirst = await streams.rate(SETTLE_MS);
  const afterwards = await streams.rate(MEASURED_MS);
  const isGone = (): boolean => performance.now() - lastSeenMs > 5_000;
  if (untilGone) await goneOrTimeout(isGone, startedMs);
  loop.disable();
  clearInterval(watch);
  const goneMs = isGone() ? lastSeenMs - startedMs : undefined;
  return { atFirst, afterwards, goneMs, loopP99Ms: loop.percentile(99) / 1e6 };
}

async function goneOrTimeout(isGone: () => boolean, startedMs: number): Promise<void> {
  while (!isGone() && performance.now() - startedMs < GONE_TIMEOUT_MS) await delay(100);
}

const openFiles = (): number => readdirSync('/proc/self/fd').length;

function table(fates: readonly Fate[]): string {
  const head = [
    'hostile',
    'tokens/s without',
    'first 10 s',
    'then',
    'share',
    'gone after',
    'loop p99',
    'failed',
    'file handles',
    'memory',
  ];
  const rows = fates.map((fate) => [
    fate.hostile,
    fate.healthy.toFixed(0),
    fate.atFirst.toFixed(0),
    fate.afterwards.toFixed(0),
    (fate.afterwards / fate.healthy).toFixed(2),
    fate.goneMs === undefined ? 'still there' : `${(fate.goneMs / 1000).toFixed(0)} s`,
    `${fate.loopP99Ms.toFixed(0)} ms`,
    String(fate.failed),
    String(fate.fileHandles),
    `${fate.memory.toFixed(0)} MiB`,
  ]);
  return formatTable([head, ...rows]);
}
