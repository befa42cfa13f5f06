import { join } from 'node:path';
import type { Browser, Page } from 'playwright';
import { createServer, type ViteDevServer } from 'vite';
import type { FramedChannel } from '@shoal/transport';
import { type AcceptedPeer, closeRtc } from '@shoal/transport/node';
import { launchChromium } from '../../tools/browser/chromium.ts';
import { acceptThrough, allOpen, RELAYED_FLAGS } from './relayed-peer.ts';
import { measureStripedLaps, type StripedLaps } from './striped-laps.ts';
import { formatTable, median } from './table.ts';
import { SlowNetwork } from './udp-relay.ts';

const ROUND_TRIPS_MS = [20, 0];
const CONNECTIONS = [1, 2, 4];
const KIB = 1024;
const FRAME_BYTES = [4, 8, 14, 28, 64, 256].map((kib) => kib * KIB);
const REPEATS = 7;
/** Below the 0.2 s after which usrsctp considers an unacknowledged packet lost, as between laps. */
const PAUSE_MS = 40;
const DIRECTIONS = ['to the tab', 'to the coordinator'] as const;

interface Transfer {
  roundTripMs: number;
  direction: (typeof DIRECTIONS)[number];
  frameBytes: number;
  /** Median milliseconds until the frame and its answer have arrived, by number of connections. */
  ms: number[];
}

/**
 * Measures the gain from further connections with the production link: real Chromium, node-datachannel, and a UDP relay
 * that holds every packet for half a round trip. First a frame one way and 4 B the other, then laps of a wide row.
 */
export async function benchStripes({ json }: { json: boolean }): Promise<void> {
  const transfers = await measureTransfers();
  const laps = await measureStripedLaps(CONNECTIONS);
  await closeRtc();
  if (json) return void process.stdout.write(`${JSON.stringify({ transfers, laps }, null, 2)}\n`);
  process.stdout.write(`${transferTable(transfers)}\n\n${lapTable(laps)}\n\n`);
  process.stdout.write(`Medians of ${REPEATS} frames and ${laps[0]!.count} laps, alternating between the tabs.\n`);
}

const head = (name: string): string[] => [
  name,
  ...CONNECTIONS.map((count) => `${count} ${count === 1 ? 'connection' : 'connections'}`),
];

function transferTable(transfers: readonly Transfer[]): string {
  const rows = transfers.map(({ roundTripMs, direction, frameBytes, ms }) => [
    `${frameBytes / KIB} KiB ${direction}, ${roundTripMs} ms`,
    ...ms.map((each) => each.toFixed(1)),
  ]);
  return formatTable([head('ms'), ...rows]);
}

function lapTable(laps: readonly StripedLaps[]): string {
  const rows = laps.map(({ rows: numRows, roundTripMs, ms }) => [
    `lap of ${numRows} ${numRows === 1 ? 'row' : 'rows'} of 14 KiB, ${roundTripMs} ms`,
    ...ms.map((each) => each.toFixed(1)),
  ]);
  return formatTable([head('ms'), ...rows]);
}

async function measureTransfers(): Promise<Transfer[]> {
  const root = join(import.meta.dirname, 'stripes-page');
  const server = await createServer({
    root,
    configFile: false,
    logLevel: 'error',
    server: { port: 0, host: '127.0.0.1' },
  });
  await server.listen();
  const browser = await launchChromium({ extraFlags: RELAYED_FLAGS });
  const transfers: Transfer[] = [];
  try {
    for (const roundTripMs of ROUND_TRIPS_MS) {
      const tabs: Tab[] = [];
      for (const count of CONNECTIONS) tabs.push(await Tab.open(browser, server, count, roundTripMs));
      for (const direction of DIRECTIONS) {
        for (const frameBytes of FRAME_BYTES) {
          transfers.push({ roundTripMs, direction, frameBytes, ms: await measureFrame(tabs, direction, frameBytes) });
        }
      }
      for (const tab of tabs) await tab.close();
    }
  } finally {
    await browser.close();
    await server.close();
  }
  return transfers;
}

/** Alternates, so that disturbances hit all equally; the first round widens the windows. */
async function measureFrame(tabs: readonly Tab[], direction: Transfer['direction'], bytes: number): Promise<number[]> {
  const samples = tabs.map(() => [] as number[]);
  for (let round = 0; round <= REPEATS; round++) {
    for (const [i, tab] of tabs.entries()) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      const ms = direction === 'to the tab' ? await tab.exchange(bytes, 4) : await tab.exchange(4, bytes);
      if (round > 0) samples[i]!.push(ms);
    }
  }
  return samples.map(median);
}

/** A tab and the coordinator's end of its link, with a separate network in between. */
class Tab {
  readonly #page: Page;
  readonly #peer: AcceptedPeer;
  readonly #link: FramedChannel;
  readonly #network: SlowNetwork;

  private constructor(page: Page, peer: AcceptedPeer, link: FramedChannel, network: SlowNetwork) {
    this.#page = page;
    this.#peer = peer;
    this.#link = link;
    this.#network = network;
  }

  static async open(
    browser: Browser,
    server: ViteDevServer,
    lapConnections: number,
    roundTripMs: number,
  ): Promise<Tab> {
    const context = await browser.newContext();
    const page = await context.newPage();
    const network = new SlowNetwork(roundTripMs);
    const peer = await acceptThrough(network, page, { lapConnections });
    await page.goto(server.resolvedUrls!.local[0]!);
    await page.waitForFunction('typeof openLink === "function"');
    await page.evaluate((count) => window.openLink(count), lapConnections);
    const link = (await peer.link) as FramedChannel;
    await allOpen(link, lapConnections);
    return new Tab(page, peer, link, network);
  }

  /** Milliseconds from handing over a frame to receiving its answer. */
  async exchange(bytes: number, answerBytes: number): Promise<number> {
    const frame = new Uint8Array(bytes);
    new DataView(frame.buffer).setUint32(0, answerBytes, true);
    const startedMs = performance.now();
    const answered = new Promise<Uint8Array>((resolve) => (this.#link.onFrame = resolve));
    await this.#link.send(frame);
    await answered;
    return performance.now() - startedMs;
  }

  async close(): Promise<void> {
    this.#peer.close();
    await this.#page.context().close();
    this.#network.close();
  }
}
