import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { MAX_PLEDGE_BYTES } from '@shoal/protocol';
import { type Adversary, ADVERSARIES } from '../chaos/adversaries.ts';
import { answer } from '../integration/answers.ts';
import { GOLDEN } from '../integration/golden.ts';
import { covered, until } from '../integration/virtual-donor.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';
import { ProcessTab } from '../tabs/process-tab.ts';
import { FULL_PACE } from './rig.ts';
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
  adversary: Adversary;
  /** Tokens a second without it, from its arrival to 10 s after, and from then on. */
  healthy: number;
  atFirst: number;
  afterwards: number;
  /** From its arrival until it has no experts and no place for 5 s; undefined if it is still there after a minute. */
  goneMs: number | undefined;
  loopP99Ms: number;
  failed: number;
  fileHandles: number;
}

/** Measures what one hostile donor beside one honest one does to 16 streams. */
export async function benchHostile({ json, only }: { json: boolean; only?: string | undefined }): Promise<void> {
  const fates: Fate[] = [];
  for (const adversary of ADVERSARIES) {
    if (only !== undefined && !adversary.includes(only)) continue;
    const fate = await measure(adversary);
    fates.push(fate);
    process.stderr.write(`${JSON.stringify(fate)}\n`);
  }
  if (json) process.stdout.write(`${JSON.stringify(fates, null, 2)}\n`);
  else process.stdout.write(`${table(fates)}\n`);
}

async function measure(adversary: Adversary): Promise<Fate> {
  const coordinator = await startTinyCoordinator({ replicas: 2, maxBatch: STREAMS });
  const [honest, hostile] = await Promise.all([ProcessTab.open(), ProcessTab.open()]);
  const { url, swarm } = coordinator;
  let stop = false;
  let tokens = 0;
  let failed = 0;
  const stream = async (i: number): Promise<void> => {
    for (let round = i; !stop; round++) {
      const onEvent = (event: { type: string }): void => void (event.type === 'token' && tokens++);
      await answer(coordinator, GOLDEN[round % GOLDEN.length]!.prompt_ids, { maxTokens: 48, onEvent }).catch(
        () => failed++,
      );
    }
  };
  const rate = async (ms: number): Promise<number> => {
    const [before, startedMs] = [tokens, performance.now()];
    await delay(ms);
    return ((tokens - before) * 1000) / (performance.now() - startedMs);
  };
  try {
    honest.lend({ url, pledgeBytes: PLEDGE_BYTES, seed: 1, measured: FULL_PACE });
    await until('the honest tab to serve', () => swarm.peers.length === 1 && covered(coordinator), JOIN_TIMEOUT_MS);
    const streams = Array.from({ length: STREAMS }, (_, i) => stream(i));
    await rate(HEALTHY_MS / 2);
    const healthy = await rate(HEALTHY_MS);
    const fileHandles = openFiles();
    const loop = monitorEventLoopDelay({ resolution: 1 });
    loop.enable();
    const startedMs = performance.now();
    const pledgeBytes = adversary === 'never loads' ? MAX_PLEDGE_BYTES : PLEDGE_BYTES;
    hostile.lend({ url, pledgeBytes, seed: 2, measured: FULL_PACE, adversary });
    const present = (): boolean => swarm.peers.some((peer) => peer.donorId === hostile.donorId);
    let lastSeenMs = Number.NaN;
    const watch = setInterval(() => present() && (lastSeenMs = performance.now()), 50);
    const atFirst = await rate(SETTLE_MS);
    const afterwards = await rate(MEASURED_MS);
    const isGone = (): boolean => performance.now() - lastSeenMs > 5_000;
    while (!isGone() && performance.now() - startedMs < GONE_TIMEOUT_MS) await delay(100);
    loop.disable();
    clearInterval(watch);
    const goneMs = isGone() ? lastSeenMs - startedMs : undefined;
    stop = true;
    await hostile.close();
    await Promise.race([Promise.all(streams), delay(30_000)]);
    await delay(1_000);
    const result = { adversary, healthy, atFirst, afterwards, goneMs, failed, loopP99Ms: loop.percentile(99) / 1e6 };
    return { ...result, fileHandles: openFiles() - fileHandles };
  } finally {
    await Promise.all([honest.close(), hostile.close()]);
    await coordinator.close();
  }
}

const openFiles = (): number => readdirSync('/proc/self/fd').length;

function table(fates: readonly Fate[]): string {
  const head = [
    'one hostile donor',
    'tokens/s without',
    'first 10 s',
    'then',
    'share',
    'gone after',
    'loop p99',
    'failed',
    'file handles',
  ];
  const rows = fates.map((fate) => [
    fate.adversary,
    fate.healthy.toFixed(0),
    fate.atFirst.toFixed(0),
    fate.afterwards.toFixed(0),
    (fate.afterwards / fate.healthy).toFixed(2),
    fate.goneMs === undefined ? 'still there' : `${(fate.goneMs / 1000).toFixed(0)} s`,
    `${fate.loopP99Ms.toFixed(0)} ms`,
    String(fate.failed),
    String(fate.fileHandles),
  ]);
  return formatTable([head, ...rows]);
}
