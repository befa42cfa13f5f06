import type { Signal } from '@preact/signals';
import type { Standing } from '@shoal/protocol';
import type { PageTexts } from '@shoal/protocol/page';
import { HISTORY_SECONDS, initialState, type DonorState } from './donor-state.ts';
import type { DownloadFigures, FromWorker } from './messages.ts';
import { VisitTallies } from './tally.ts';

const STORAGE_KEY = 'shoal.visit';

/** What a reload of the tab goes on with. */
interface KeptVisit {
  /** In epoch milliseconds. */
  startedMs: number;
  totals: VisitTallies['totals'];
  /** What the donor had done in all when the visit began; absent until it is known. */
  tokensBefore?: number | undefined;
}

/** Keeps the figures of a visit in the page's state, over all of its connections and workers, and over reloads. */
export class VisitFigures {
  readonly #state: Signal<DonorState>;
  readonly #storage: PageTexts;
  #tallies = new VisitTallies();
  /** The visit before the last reload. */
  #before: KeptVisit | undefined;
  #tokensBefore: number | undefined;
  #downloadEpoch = -1;
  /** Of the visit, that the chart has. */
  #tokensCharted = 0;

  constructor(state: Signal<DonorState>, storage: PageTexts) {
    this.#state = state;
    this.#storage = storage;
  }

  /** A visit begins, or goes on after a reload. */
  begin(): void {
    this.#tallies = new VisitTallies();
    this.#before = readKept(this.#storage);
    this.#tokensBefore = this.#before?.tokensBefore;
    const { visit } = initialState(0);
    const startedMs = this.#before ? this.#before.startedMs - performance.timeOrigin : performance.now();
    this.#set({ visit: { ...visit, startedMs, ...this.#totals() }, tokensHistory: [] });
    this.#tokensCharted = this.#state.value.visit.tokensHelped;
  }

  end(): void {
    this.#storage.removeItem(STORAGE_KEY);
    this.#set({ visit: { ...this.#state.value.visit, endedMs: performance.now() } });
  }

  /** The tab joins anew: the coordinator counts its visit from 0. */
  rejoin(): void {
    this.#tallies.tokensHelped.restart();
    this.#set({ download: undefined, standing: undefined });
  }

  /** The worker was ended: the next one counts from 0. */
  restartWorker(): void {
    this.#tallies.rows.restart();
    this.#tallies.wireBytes.restart();
    this.#set({ stats: undefined });
  }

  /** The page was stopped for a while: what the chart shows is no longer of the last minutes. */
  forgetHistory(): void {
    this.#set({ standing: undefined, stats: undefined, tokensHistory: [] });
  }

  readStanding(standing: Standing): void {
    this.#tallies.tokensHelped.read(standing.tokensHelped);
    // One source where there is one, so that the visit's tokens are never more than those in all.
    const { contribution } = standing;
    if (contribution?.kept) this.#tokensBefore ??= contribution.total.tokens;
    // Its own totals may be absent from a message, but not forgotten.
    this.#set({ standing: { contribution: this.#state.value.standing?.contribution, ...standing } });
    this.#set(this.#visit());
    this.#keep();
  }

  readDownload(progress: DownloadFigures): void {
    if (progress.epoch !== this.#downloadEpoch) this.#tallies.downloadedBytes.restart();
    this.#downloadEpoch = progress.epoch;
    this.#tallies.downloadedBytes.read(Math.max(0, progress.doneBytes - progress.cachedBytes));
    this.#set({ download: progress, ...this.#visit() });
  }

  /** Once a second. */
  readStats({ stats }: Extract<FromWorker, { type: 'stats' }>): void {
    this.#tallies.rows.read(stats.rows);
    this.#tallies.wireBytes.read(stats.bytesSent + stats.bytesReceived);
    this.#tallies.readFetched(stats.fetched);
    const { tokensHelped } = this.#state.value.visit;
    const helped = Math.max(0, tokensHelped - this.#tokensCharted);
    this.#tokensCharted = tokensHelped;
    const tokensHistory = [...this.#state.value.tokensHistory, helped].slice(-HISTORY_SECONDS);
    this.#set({ stats, tokensHistory, ...this.#visit() });
  }

  #visit(): Pick<DonorState, 'visit'> {
    return { visit: { ...this.#state.value.visit, ...this.#totals() } };
  }

  #totals(): VisitTallies['totals'] {
    const { totals } = this.#tallies;
    for (const name of Object.keys(totals) as (keyof typeof totals)[]) totals[name] += this.#before?.totals[name] ?? 0;
    const contribution = this.#state.value.standing?.contribution;
    if (contribution?.kept && this.#tokensBefore !== undefined)
      totals.tokensHelped = Math.max(0, contribution.total.tokens - this.#tokensBefore);
    return totals;
  }

  #keep(): void {
    const { startedMs } = this.#state.value.visit;
    if (startedMs === undefined) return;
    const kept: KeptVisit = {
      startedMs: startedMs + performance.timeOrigin,
      totals: this.#totals(),
      tokensBefore: this.#tokensBefore,
    };
    this.#storage.setItem(STORAGE_KEY, JSON.stringify(kept));
  }

  #set(change: Partial<DonorState>): void {
    this.#state.value = { ...this.#state.value, ...change };
  }
}

function readKept(storage: PageTexts): KeptVisit | undefined {
  try {
    const kept = JSON.parse(storage.getItem(STORAGE_KEY) ?? '{}') as Partial<KeptVisit>;
    if (typeof kept.startedMs !== 'number' || typeof kept.totals !== 'object') return undefined;
    return kept as KeptVisit;
  } catch {
    return undefined;
  }
}
