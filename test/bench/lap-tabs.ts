import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright';
import { build, preview, type PreviewServer } from 'vite';
import { encodeF16, normalDraw, type Rng, type WorkItem, uniformWorkItem } from '@shoal/model';
import type { Signal } from '@shoal/protocol';
import type { FramedChannel } from '@shoal/transport';
import { acceptPeer, type AcceptedPeer, closeRtc, loadRtc } from '@shoal/transport/node';
import { LapClient } from '../../coordinator/src/laps/lap-client.ts';
import { launchChromium } from '../../tools/browser/chromium.ts';
import type { TabAnswer, TabCommand } from './laps-page/messages.ts';
import { acceptThrough, allOpen } from './relayed-peer.ts';
import type { SlowNetwork } from './udp-relay.ts';

/** A tab in a real Chromium, and the coordinator's end of its laps. */
export interface LapTab {
  page: Page;
  peer: AcceptedPeer;
  link: FramedChannel;
  laps: LapClient;
  ask(command: TabCommand): Promise<TabAnswer>;
}

/** Dimensions of the experts that a tab holds. */
export interface LapDims {
  hiddenSize: number;
  layers: number;
  experts: number;
  topK: number;
}

/** One row of normal values with `topK` consecutive experts, starting from a random one. */
export function oneRowLap(rng: Rng, { hiddenSize, layers, experts, topK }: LapDims): WorkItem {
  const first = Math.floor(rng() * experts);
  return uniformWorkItem({
    layer: Math.floor(rng() * layers),
    rows: encodeF16(Float32Array.from({ length: hiddenSize }, () => normalDraw(rng))),
    numRows: 1,
    experts: Uint16Array.from({ length: topK }, (_, k) => (first + k) % experts),
    weights: new Float32Array(topK).fill(0.25),
  });
}

type LapTabStart = Omit<TabCommand & { type: 'start' }, 'type' | 'channel'>;
interface LapTabWire {
  network?: SlowNetwork;
  lapConnections?: number;
}

/** The coordinator's end for a page that has not loaded yet. */
async function accept(page: Page, lapConnections: number): Promise<AcceptedPeer> {
  const rtc = await loadRtc();
  const onSignal = (signal: Signal): void =>
    void page.evaluate((data) => window.connection.signal(data), signal).catch(() => {});
  const peer = acceptPeer({ rtc, iceServers: [], lapConnections, onSignal });
  await page.exposeFunction('toCoordinator', (signal: Signal) => peer.signal(signal));
  return peer;
}

/** Tabs that answer laps with the production code, without a swarm or an engine around them. */
export class LapTabs {
  readonly browser: Browser;
  readonly #server: PreviewServer;
  readonly #outDir: string;
  readonly tabs: LapTab[] = [];

  private constructor(browser: Browser, server: PreviewServer, outDir: string) {
    this.browser = browser;
    this.#server = server;
    this.#outDir = outDir;
  }

  static async launch(extraFlags: readonly string[] = []): Promise<LapTabs> {
    const root = join(import.meta.dirname, 'laps-page');
    const outDir = await mkdtemp(join(tmpdir(), 'shoal-laps-bench-'));
    const shared = { configFile: false, root, logLevel: 'warn' } as const;
    await build({ ...shared, worker: { format: 'es' }, build: { outDir, emptyOutDir: true, target: 'es2023' } });
    // Isolated like the donor's page: otherwise clocks have no microsecond resolution.
    const headers = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };
    const server = await preview({ ...shared, build: { outDir }, preview: { host: '127.0.0.1', port: 0, headers } });
    return new LapTabs(await launchChromium({ extraFlags }), server, outDir);
  }

  /** Opens a tab in its own context, and so its own process, optionally on a slow network. */
  async open(start: LapTabStart, { network, lapConnections = 1 }: LapTabWire = {}): Promise<LapTab> {
    const context = await this.browser.newContext();
    const page = await context.newPage();
    const peer = await (network ? acceptThrough(network, page, { lapConnections }) : accept(page, lapConnections));
    await page.goto(this.#server.resolvedUrls!.local[0]!);
    await page.waitForFunction('typeof startTab === "function"');
    const command = { type: 'start' as const, ...start };
    const started = page.evaluate((given) => window.startTab(given.command, given.lapConnections), {
      command,
      lapConnections,
    });
    const link = (await peer.link) as FramedChannel;
    await started;
    await allOpen(link, lapConnections);
    const laps = new LapClient({
      link,
      hiddenSize: start.shape.hiddenSize,
      epoch: () => 0,
      onHostile: (message) => {
        throw new Error(message);
      },
    });
    link.onFrame = (frame) => laps.receive(frame);
    const ask = (command: TabCommand): Promise<TabAnswer> =>
      page.evaluate((sent) => window.askTab(sent), command) as Promise<TabAnswer>;
    const tab = { page, peer, link, laps, ask };
    this.tabs.push(tab);
    return tab;
  }

  async close(): Promise<void> {
    for (const { peer } of this.tabs) peer.close();
    await this.browser.close();
    await this.#server.close();
    await rm(this.#outDir, { recursive: true, force: true });
    await closeRtc();
  }
}
