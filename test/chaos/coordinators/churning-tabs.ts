import { setTimeout as delay } from 'node:timers/promises';
import { ProcessTab } from '../../tabs/process-tab.ts';
import { type Liar, nthLiar } from '../liars.ts';

/** All experts of the default model fit. */
const PLEDGE_BYTES = 64 * 2 ** 20;
/** Between two tabs that end, on average. */
const CHURN_MS = 6_000;
/** How often a tab that comes is a liar. */
const EVERY_NTH_LIES = 4;

/** Tabs in processes, which come in at the balancer, crash, say goodbye, and now and then lie. Their number stays. */
export class ChurningTabs {
  /** Honest tabs that have ended, and how. */
  readonly ended = { crashed: 0, left: 0 };
  readonly liars: ProcessTab[] = [];
  readonly #url: string;
  readonly #rng: () => number;
  #tabs: ProcessTab[] = [];
  #opened = 0;

  private constructor(url: string, rng: () => number) {
    this.#url = url;
    this.#rng = rng;
  }

  static async open(url: string, count: number, rng: () => number): Promise<ChurningTabs> {
    const tabs = new ChurningTabs(url, rng);
    tabs.#tabs = await Promise.all(Array.from({ length: count }, () => tabs.#lend()));
    return tabs;
  }

  get donors(): string[] {
    return this.#tabs.map(({ donorId }) => donorId);
  }

  /** Replaces one tab after the other, and lets liars in beside them, until `isOver`. */
  async churn(isOver: () => boolean): Promise<void> {
    while (this.#tabs.length > 0) {
      const untilMs = performance.now() + CHURN_MS * (0.5 + this.#rng());
      while (performance.now() < untilMs) {
        if (isOver()) return;
        await delay(100);
      }
      const i = Math.floor(this.#rng() * this.#tabs.length);
      const gone = this.#tabs[i]!;
      if (this.#rng() < 0.5) {
        gone.crash();
        this.ended.crashed++;
      } else {
        gone.leave();
        this.ended.left++;
      }
      this.#tabs[i] = await this.#lend();
      if (this.ended.crashed + this.ended.left === 1 || this.#opened % EVERY_NTH_LIES === 0)
        this.liars.push(await this.#lend(nthLiar(this.liars.length)));
    }
  }

  async #lend(liar?: Liar): Promise<ProcessTab> {
    const tab = await ProcessTab.open();
    tab.lend({ url: this.#url, pledgeBytes: PLEDGE_BYTES, seed: ++this.#opened, ...(liar && { liar }) });
    return tab;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#tabs, ...this.liars].map((tab) => tab.close()));
  }
}
