import type { Quant } from '@shoal/weights';
import { expect } from 'vitest';
import type { Config, Coordinator } from '../../coordinator/src/index.ts';
import { DonorBrowser, type DonorTab } from '../../tools/browser/donor-tabs.ts';
import { covered, until } from '../integration/virtual-donor.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';
import { connectChromium } from './shared-chromium.ts';

export const ADMIN_TOKEN = 'test-admin-token';
const PLEDGE_MIB = 64;
/** Software WebGPU compiles and tests on the same cores as everything else. */
const JOIN_TIMEOUT_MS = 120_000;

export interface NetworkOptions {
  /** The default model if omitted. */
  modelDir?: string;
  quant?: Quant;
  /** All tests' by default. */
  cacheDir?: string;
  replicas?: number;
  cpuDonors?: boolean;
  /** From where adapters are loaded. */
  adapterRoot?: string;
  /** Other options of the coordinator. */
  config?: Partial<Config>;
  /** Endpoint of another browser than the one with WebGPU that all tests share. */
  chromium?: string;
}

type Work = Pick<Coordinator['dispatcher']['figures'], 'tabAssignments' | 'fallbackAssignments'>;

/**
 * Much of the work was the tabs', since `before`. Not all of it: on a busy machine a tab may be late, or its audits are, and the
 * coordinator then stands in. That it leaves to tabs whatever they answer in time is the integration tests' to check.
 */
export function expectTabsServed({ dispatcher }: Coordinator, before?: Work): void {
  const { tabAssignments, fallbackAssignments } = dispatcher.figures;
  const byTabs = tabAssignments - (before?.tabAssignments ?? 0);
  expect(byTabs).toBeGreaterThan(0);
  expect(byTabs).toBeGreaterThan((fallbackAssignments - (before?.fallbackAssignments ?? 0)) / 4);
}

/** A real coordinator on a free port, and real tabs in a real Chromium. */
export class Network {
  readonly coordinator: Coordinator;
  readonly browser: DonorBrowser;
  tabs: DonorTab[] = [];

  private constructor(coordinator: Coordinator, browser: DonorBrowser) {
    this.coordinator = coordinator;
    this.browser = browser;
  }

  static async start(options: NetworkOptions = {}): Promise<Network> {
    const coordinator = await startTinyCoordinator({
      ...(options.modelDir !== undefined && { model: options.modelDir }),
      ...(options.cacheDir !== undefined && { cacheDir: options.cacheDir }),
      ...(options.adapterRoot !== undefined && { adapterRoot: options.adapterRoot }),
      quant: options.quant ?? 'f16',
      replicas: options.replicas ?? 2,
      adminToken: ADMIN_TOKEN,
      cpuDonors: options.cpuDonors ?? true,
      ...options.config,
    });
    return new Network(coordinator, new DonorBrowser(await connectChromium(options.chromium)));
  }

  /** Open tabs, with these devices in turn, and wait until they hold and serve what the plan wants of them. */
  async join(count: number, ...devices: ('gpu' | 'cpu')[]): Promise<DonorTab[]> {
    const opened = await Promise.all(
      Array.from({ length: count }, (_, i) =>
        this.browser.open(this.coordinator.url, PLEDGE_MIB, devices[i % devices.length] ?? 'gpu'),
      ),
    );
    this.tabs.push(...opened);
    await this.settle(this.tabs.length);
    return opened;
  }

  async settle(tabs: number): Promise<void> {
    const { swarm, events } = this.coordinator;
    try {
      await until(
        `${tabs} tabs to serve every expert`,
        () => swarm.peers.length === tabs && covered(this.coordinator),
        JOIN_TIMEOUT_MS,
      );
    } catch (error) {
      const log = events
        .all()
        .slice(-15)
        .map((event) => event.text);
      const errors = this.tabs.flatMap((tab) => tab.errors);
      throw new Error(`${(error as Error).message}\n${log.join('\n')}\n${errors.join('\n')}`, { cause: error });
    }
  }

  /** The tab's process dies, as when it runs out of memory: no goodbye, no unload. */
  async crash(tab: DonorTab): Promise<void> {
    const crashed = tab.page.waitForEvent('crash');
    tab.page.goto('chrome://crash').catch(() => {});
    await crashed;
    this.tabs = this.tabs.filter((other) => other !== tab);
  }

  async stop(): Promise<void> {
    await this.browser.close();
    await this.coordinator.close();
  }
}
