import type { DonorPhase, DonorState } from '../donor-state.ts';
import type { LimitsState } from '../limits/limits-keeper.ts';
import type { Problem } from '../problems.ts';
import { TerminalDonor, type TerminalDonorOptions } from './terminal-donor.ts';
import { farewell, problemText, stateLine } from './words.ts';

/** How a visit is shown, and told to end. */
export interface VisitIo {
  /** A line that stays. */
  say: (line: string) => void;
  /** A line that the next one replaces; a log shows one of them now and then. Undefined where there is no terminal. */
  show: ((line: string) => void) | undefined;
  /** Aborted when the donor wants to finish. */
  finish: AbortSignal;
  /** Aborted when the donor wants to leave at once. */
  leave: AbortSignal;
}

/** A problem that only the donor can solve ended the visit. */
export class VisitError extends Error {
  override name = 'VisitError';
  readonly code: string;

  constructor(problem: Problem) {
    super(problemText(problem));
    this.code = problem.code;
  }
}

const SHOW_INTERVAL_MS = 250;
/** How often figures are told where lines stay, as in a log. */
const LOG_INTERVAL_MS: Readonly<Record<string, number>> = { downloading: 5_000, lending: 60_000 };
const OVER: ReadonlySet<DonorPhase> = new Set(['finished', 'consent', 'failed']);

/**
 * Lends until the donor has finished or left. Problems that pass are waited out. Throws a VisitError for others; a TransportError
 * where no WebRTC loads.
 */
export async function visit(options: Omit<TerminalDonorOptions, 'onState'>, io: VisitIo): Promise<void> {
  const reporter = new Reporter(io);
  let settle = (_state: DonorState): void => {};
  const over = new Promise<DonorState>((resolve) => (settle = resolve));
  let hasBegun = false;
  let donor: TerminalDonor | undefined;
  donor = await TerminalDonor.open({
    ...options,
    onState: (state) => {
      // Until it lends, the phase is `consent` as well.
      if (!(hasBegun ||= state.phase !== 'consent')) return;
      if (OVER.has(state.phase)) settle(state);
      else reporter.take(state, donor?.limits);
    },
  });
  const ticker = setInterval(() => hasBegun && reporter.take(donor.state, donor.limits), SHOW_INTERVAL_MS);
  try {
    await donor.lend();
    onAbort(io.finish, () => donor.finish());
    const left = new Promise<DonorState>((resolve) => onAbort(io.leave, () => resolve(donor.state)));
    const last = await Promise.race([over, left]);
    if (last.phase === 'failed') throw new VisitError(last.problem!);
  } finally {
    clearInterval(ticker);
    const { state } = donor;
    await donor.close();
    reporter.end();
    if (state.phase === 'finished' || state.visit.rows > 0) io.say(farewell(state));
  }
}

function onAbort(signal: AbortSignal, run: () => void): void {
  if (signal.aborted) run();
  else signal.addEventListener('abort', run, { once: true });
}

/** Tells of changes of the phase, and in between of figures. */
class Reporter {
  readonly #io: VisitIo;
  #told: string | undefined;
  #toldMs = 0;

  constructor(io: VisitIo) {
    this.#io = io;
  }

  take(state: DonorState, limits: LimitsState | undefined): void {
    const { show, say } = this.#io;
    if (show) return show(stateLine(state, limits));
    // Work comes and goes by the second, which would fill a log.
    const now = state.phase === 'waiting' || state.phase === 'working' ? 'lending' : state.phase;
    const nowMs = performance.now();
    const everyMs = LOG_INTERVAL_MS[now] ?? Number.POSITIVE_INFINITY;
    if (now === this.#told && nowMs - this.#toldMs < everyMs) return;
    this.#told = now;
    this.#toldMs = nowMs;
    say(stateLine(state, limits));
  }

  end(): void {
    this.#io.show?.('');
  }
}
