import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Browser, Page } from 'playwright';
import { createServer, type ViteDevServer } from 'vite';
import { HEARTBEAT_MS, MAX_FRAME_BYTES, type Signal } from '@shoal/protocol';
import type { FramedChannel } from '@shoal/transport';
import { acceptPeer, closeRtc, loadRtc, type AcceptedPeer } from '@shoal/transport/node';
import { launchChromium } from '../../tools/browser/chromium.ts';
import { acceptThrough, allOpen, RELAYED_FLAGS } from '../bench/relayed-peer.ts';
import { SlowNetwork } from '../bench/udp-relay.ts';
import { closeReason, collect, patterned, sameBytes } from '../contract/transport-suite.ts';
import { connectChromium } from './shared-chromium.ts';

// A donor's tab against the coordinator's side of the connection: the lap channel lives in the tab's worker.
let server: ViteDevServer;
let browser: Browser;
/** Tells its addresses, so that a connection's packets can be led through a relay and cut off there. */
let relayed: Browser;

beforeAll(async () => {
  const root = fileURLToPath(new URL('./transport/', import.meta.url));
  server = await createServer({ root, configFile: false, logLevel: 'error', server: { port: 0, host: '127.0.0.1' } });
  await server.listen();
  browser = await connectChromium();
  relayed = await launchChromium({ extraFlags: RELAYED_FLAGS });
});

afterAll(async () => {
  await browser?.close();
  await relayed?.close();
  await server?.close();
  await closeRtc();
});

describe('transport: a tab whose worker has the lap channel', () => {
  let page: Page;
  let peer: AcceptedPeer | undefined;
  let link: FramedChannel;
  let closedInTab: Promise<string>;
  let tell: (reason: string) => void;

  beforeAll(async () => {
    page = await browser.newPage();
    await page.exposeFunction('toCoordinator', (signal: Signal) => peer?.signal(signal));
    await page.exposeFunction('linkClosed', (reason: string) => tell(reason));
    await page.goto(server.resolvedUrls!.local[0]!);
    await page.waitForFunction(() => 'connect' in window);
  });
  afterAll(() => page.close());

  const connect = async (heartbeatMs: number): Promise<void> => {
    peer?.close();
    // A closed page gets no more candidates.
    const onSignal = (signal: Signal) =>
      void page.evaluate((data) => window.connection.signal(data), signal).catch(() => {});
    peer = acceptPeer({ rtc: await loadRtc(), iceServers: [], heartbeatMs, onSignal });
    await page.evaluate(() => window.connect());
    // From here on the tab tells no close of the connection before.
    closedInTab = new Promise((resolve) => (tell = resolve));
    link = (await peer.link) as FramedChannel;
  };

  it('reads and writes the frame fixtures as Node does', async () => {
    expect(await page.evaluate(() => window.checkFixtures())).toEqual([]);
  });

  describe('while it is open', () => {
    beforeAll(() => connect(1000));

    it.each([1, 4096, 100 * 1024, MAX_FRAME_BYTES])('echoes a frame of %i B', async (sizeBytes) => {
      const frame = patterned(sizeBytes, 3);
      const answers = collect(link, 1);
      await link.send(frame);
      expect(sameBytes((await answers)[0]!, frame)).toBe(true);
    });

    it('moves 20 MB, more than Chromium buffers, there and back without loss', async () => {
      const before = link.stats().framesReceived;
      const answers = collect(link, 200);
      for (let i = 0; i < 200; i++) await link.send(patterned(100_000, i));
      expect((await answers).every((frame) => frame.byteLength === 100_000)).toBe(true);
      expect(link.stats()).toMatchObject({ framesReceived: before + 200, lost: 0 });
    });

    it('answers heartbeats from the worker', async () => {
      await expect.poll(() => link.stats().rttMs, { timeout: 30_000 }).toBeGreaterThan(0);
    });
  });

  describe('until it closes', () => {
    beforeEach(() => connect(500));

    it('tells the tab goodbye', async () => {
      const answers = collect(link, 1);
      await link.send(Uint8Array.of(1));
      // The worker is up: it has answered.
      await answers;
      link.close('goodbye');
      expect(await closedInTab).toBe('goodbye');
    });

    it('hears the page say goodbye', async () => {
      const reason = closeReason(link);
      await expect.poll(() => page.evaluate(() => window.connection.sendControl({ control: 'goodbye' }))).toBe(true);
      expect(await reason).toBe('goodbye');
    });

    it('closes only the link when the other side sends what is no message', async () => {
      link.channel.send(Uint8Array.of(9, 9, 9, 9));
      expect(await closedInTab).toBe('protocol');
      expect(await page.evaluate(() => 1 + 1)).toBe(2);
    });

    // The last one: the page is lost.
    it('notices a tab that crashed', async () => {
      const reason = closeReason(link);
      page.goto('chrome://crash').catch(() => {});
      expect(['heartbeat', 'remote-closed', 'failed']).toContain(await reason);
    });
  });
});

describe('transport: a tab with four connections', () => {
  let page: Page;
  let peer: AcceptedPeer;
  let link: FramedChannel;
  let network: SlowNetwork;
  const lost = vi.fn();

  const connect = async (heartbeatMs: number) => {
    lost.mockReset();
    page = await relayed.newPage();
    network = new SlowNetwork(0);
    await page.exposeFunction('linkClosed', () => {});
    peer = await acceptThrough(network, page, { lapConnections: 4, heartbeatMs, onFurtherLost: lost });
    await page.goto(server.resolvedUrls!.local[0]!);
    await page.waitForFunction(() => 'connect' in window);
    await page.evaluate(() => window.connect(4));
    link = (await peer.link) as FramedChannel;
    await allOpen(link, 4);
  };

  const disconnect = async () => {
    peer.close();
    await page.close();
    network.close();
  };

  /** One round trip. */
  const echo = async (sizeBytes: number): Promise<boolean> => {
    const frame = patterned(sizeBytes, 3);
    const answers = collect(link, 1);
    await link.send(frame);
    return sameBytes((await answers)[0]!, frame);
  };

  /** The tab has noticed too: frames sent on the lost channel are lost, new ones are not. */
  const echoedAgain = (): Promise<void> => {
    const late = (): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, 500));
    return expect.poll(() => Promise.race([echo(256 * 1024), late()]), { timeout: 90_000 }).toBe(true);
  };

  describe('that stay open, then are closed one by one', () => {
    beforeAll(() => connect(HEARTBEAT_MS));
    afterAll(disconnect);

    it.each([4096, 14 * 1024, 256 * 1024, MAX_FRAME_BYTES])('echoes a frame of %i B', async (sizeBytes) => {
      expect(await echo(sizeBytes)).toBe(true);
      expect(link.stats().lost).toBe(0);
    });

    it('spreads what is over a burst over all of them; the tab what is over its buffer', async () => {
      const heard = link.channels.map(() => 0);
      for (const [i, channel] of link.channels.entries()) channel.addEventListener('message', () => heard[i]!++);
      const sent = link.channels.map(() => 0);
      for (const [i, channel] of link.channels.entries()) {
        const send = channel.send.bind(channel);
        channel.send = (message) => {
          // No heartbeats.
          if (message.byteLength > 4) sent[i]!++;
          send(message);
        };
      }
      expect(await echo(14 * 1024)).toBe(true);
      expect(sent.sort()).toEqual([1, 2, 2, 2]);
      expect(await echo(2 ** 20)).toBe(true);
      expect(Math.min(...heard)).toBeGreaterThan(5);
    });

    it('opens no connection that was not granted', async () => {
      const sdp = 'v=0';
      peer.signal({ type: 'offer', sdp, connection: 4 });
      expect(link.channels.length).toBe(4);
      expect(await echo(100)).toBe(true);
    });

    // First one in the middle, then the last one that is left.
    it.each([
      [1, 3],
      [2, 2],
    ])('goes on when connection %i is closed, with %i', async (number, left) => {
      link.channels[number]!.close();
      await expect.poll(() => link.channels.length).toBe(left);
      await echoedAgain();
      for (let i = 0; i < 10; i++) expect(await echo(256 * 1024)).toBe(true);
      expect(lost).toHaveBeenCalledTimes(4 - left);
    });
  });

  describe('that are cut', () => {
    beforeAll(() => connect(500));
    afterAll(disconnect);

    it('goes on when one falls silent under way: what was on it is lost, and it is given up at both ends', async () => {
      const echoed: Uint8Array[] = [];
      link.onFrame = (frame) => echoed.push(frame);
      network.cut(2);
      await link.send(patterned(256 * 1024, 1));
      await expect.poll(() => link.channels.length, { timeout: 90_000 }).toBe(3);
      expect(lost).toHaveBeenCalledTimes(1);
      await echoedAgain();
      for (let i = 0; i < 10; i++) expect(await echo(256 * 1024)).toBe(true);
    });

    it('ends with the main one', async () => {
      const reason = closeReason(link);
      network.cut(0);
      expect(await reason).toBe('heartbeat');
      await expect.poll(() => link.channels.every(({ readyState }) => readyState === 'closed')).toBe(true);
    });
  });
});
