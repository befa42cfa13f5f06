import type { Page } from 'playwright';
import type { Signal } from '@shoal/protocol';
import type { FramedChannel } from '@shoal/transport';
import { acceptPeer, type AcceptedPeer, type AcceptOptions, loadRtc } from '@shoal/transport/node';
import type { SlowNetwork } from './udp-relay.ts';

/** Makes Chromium reveal its addresses, which a relay must know. */
export const RELAYED_FLAGS = ['--disable-features=WebRtcHideLocalIpsWithMdns'];

/**
 * The coordinator's end for a page that has not loaded yet and then has `connection`, with a network in between.
 */
export async function acceptThrough(
  network: SlowNetwork,
  page: Page,
  options: Pick<AcceptOptions, 'lapConnections' | 'heartbeatMs' | 'onFurtherLost'>,
): Promise<AcceptedPeer> {
  const rtc = await loadRtc(['node-datachannel']);
  const toTab = async (signal: Signal): Promise<void> => {
    const changed = await network.fromCoordinator(signal);
    if (changed) await page.evaluate((data) => window.connection.signal(data), changed);
  };
  const onSignal = (signal: Signal): void => void toTab(signal).catch(() => {});
  const peer = acceptPeer({ rtc, iceServers: [], onSignal, ...options });
  await page.exposeFunction('toCoordinator', async (signal: Signal) => {
    const changed = await network.fromTab(signal);
    if (changed) peer.signal(changed);
  });
  return peer;
}

export async function allOpen(link: FramedChannel, lapConnections: number): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (link.channels.filter(({ readyState }) => readyState === 'open').length < lapConnections) {
    if (performance.now() > deadlineMs)
      throw new Error(`Of ${lapConnections} connections not all were open within 20 s.`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
