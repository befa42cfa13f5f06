import type { Signal } from '@preact/signals';
import type { Standing } from '@shoal/protocol';
import { HISTORY_SECONDS, initialState, type DonorState } from './donor-state.ts';
import type { DownloadFigures, FromWorker } from './messages.ts';
import { VisitTallies } from './tally.ts';

/** Keeps the figures of a visit in the page's state, over all of its connections and workers. */
export class VisitFigures {
  readonly #state: Signal<DonorState>;
  #tallies = new VisitTallies();
  #downloadEpoch = -1;
  /** Of the visit, that the chart has. */
  #tokensCharted = 0;

  constructor(state: Signal<DonorState>) {
    this.#state = state;
  }

  /** A visit begins. */
  begin(): void {
    this.#tallies = new VisitTallies();
    const { visit } = initialState(0);
    this.#set({ visit: { ...visit, startedMs: performance.now() }, tokensHistory: [] });
    this.#tokensCharted = this.#state.value.visit.tokensHelped;
  }

  end(): void {
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
    this.#set({ standing, ...this.#visit() });
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
    return { visit: { ...this.#state.value.visit, ...this.#tallies.totals } };
  }

  #set(change: Partial<DonorState>): void {
    this.#state.value = { ...this.#state.value, ...change };
  }
}
