import { afterEach, describe, expect, it } from 'vitest';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { MAX_BURST_FRAME_BYTES, type FramedChannel } from '@shoal/transport';
import { ProcessTab } from '../tabs/process-tab.ts';
import { answer } from './answers.ts';
import { GOLDEN, promisedLength } from './golden.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';
import { covered, until } from './virtual-donor.ts';

/** Processes compile and join on the same cores as everything else. */
const JOIN_TIMEOUT_MS = 60_000;
const HIDDEN = 192;

describe('a tab with four connections to a coordinator', () => {
  let coordinator: Coordinator | undefined;
  let tab: ProcessTab | undefined;

  afterEach(async () => {
    await tab?.close();
    await coordinator?.close();
  });

  it('opens them after the first, and answers laps whose frames are spread over them; without one as well', async () => {
    coordinator = await startTinyCoordinator({ lapConnections: '4', replicas: 1 });
    const { swarm, dispatcher, url } = coordinator;
    tab = await ProcessTab.open();
    tab.lend({ url, pledgeBytes: 64 * 2 ** 20, seed: 1 });
    await until('the tab to serve', () => swarm.peers.length === 1 && covered(coordinator!), JOIN_TIMEOUT_MS);
    const link = swarm.peers[0]!.link as FramedChannel;
    const open = () => link.channels.filter(({ readyState }) => readyState === 'open');
    await until('four open channels', () => open().length === 4);
    const sent = open().map(() => 0);
    for (const [i, channel] of open().entries()) {
      const send = channel.send.bind(channel);
      channel.send = (message) => {
        sent[i]!++;
        send(message);
      };
    }

    // A prompt's rows make frames of more than a burst.
    const golden = GOLDEN.reduce((longest, each) =>
      each.prompt_ids.length > longest.prompt_ids.length ? each : longest,
    );
    expect(golden.prompt_ids.length * HIDDEN * 2).toBeGreaterThan(MAX_BURST_FRAME_BYTES);
    const maxTokens = Math.min(8, promisedLength(golden));
    const expected = golden.greedy_ids.slice(0, maxTokens);
    expect((await answer(coordinator, golden.prompt_ids, { maxTokens })).ids).toEqual(expected);
    expect(Math.min(...sent)).toBeGreaterThan(0);

    open()[2]!.close();
    await until('three open channels', () => open().length === 3);
    expect((await answer(coordinator, golden.prompt_ids, { maxTokens })).ids).toEqual(expected);
    expect(dispatcher.figures.fallbackAssignments).toBe(0);
    expect(swarm.peers.length).toBe(1);
  });
});
