import { afterEach, describe, expect, it } from 'vitest';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { ProcessTab } from '../tabs/process-tab.ts';
import { runChaos } from '../chaos/run.ts';
import { serverStage } from '../chaos/stage.ts';
import { processTabs } from '../chaos/victims.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';
import { covered, until } from './virtual-donor.ts';

const PLEDGE_BYTES = 64 * 2 ** 20;
/** Processes compile and join on the same cores as everything else. */
const JOIN_TIMEOUT_MS = 60_000;

describe('PeerSession: a tab in a process of its own that dies, freezes or leaves', () => {
  let coordinator: Coordinator | undefined;
  let tabs: ProcessTab[] = [];

  afterEach(async () => {
    await Promise.all(tabs.map((tab) => tab.close()));
    await coordinator?.close();
  });

  it('is let go by its goodbye, by its socket’s end, or by heartbeats, as it leaves, dies or freezes', async () => {
    const { url, swarm, events } = (coordinator = await startTinyCoordinator());
    tabs = await Promise.all([ProcessTab.open(), ProcessTab.open(), ProcessTab.open()]);
    for (const tab of tabs) tab.lend({ url, pledgeBytes: PLEDGE_BYTES, seed: 1 });
    await until('three tabs', () => swarm.peers.length === 3 && covered(coordinator!), JOIN_TIMEOUT_MS);
    const [leaving, dying, freezing] = tabs.map((tab) => swarm.peers.find((peer) => peer.donorId === tab.donorId)!);
    tabs[0]!.leave();
    tabs[1]!.crash();
    tabs[2]!.freeze();
    await until('all to be let go', () => swarm.peers.length === 0);
    const endOf = (peer: typeof leaving): string[] =>
      events.all().flatMap(({ peerId, text }) => (peerId === peer!.peerId ? text.replace(`${peerId} `, '') : []));
    expect(endOf(leaving).at(-1)).toMatch(/^said goodbye/);
    expect(endOf(dying).at(-1)).toMatch(/^(vanished|lost its connection)/);
    expect(endOf(freezing).at(-1)).toMatch(/^stopped answering heartbeats/);
  });
});

/** The short form of `npm run chaos` for events that tabs on the coordinator's thread cannot survive. */
it('chaos: a coordinator that restarts in mid-answer: each stream ends with an error, is asked again, and its tabs download nothing', async () => {
  const stage = await serverStage((port) => startTinyCoordinator({ port, drainTimeoutMs: 0 }));
  const report = await runChaos(stage, {
    seed: 1,
    tabs: [{ maker: processTabs(stage.core, () => stage.url, 0), count: 3 }],
    streams: 4,
    kinds: ['restart'],
    durationMs: 1_500,
    everyMs: 1_000,
  }).finally(() => stage.close());
  expect(report).toMatchObject({ failed: [], different: [], violations: [] });
  expect(report.restarts).toMatchObject([{ downloads: 0 }]);
  expect(report.interrupted).toBeGreaterThan(0);
});
