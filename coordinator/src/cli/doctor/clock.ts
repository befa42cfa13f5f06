import { setTimeout as delay } from 'node:timers/promises';
import { failed, type Finding, ok, warning } from './finding.ts';

const WATCH_MS = 250;
/** Above what a busy machine takes between two readings. */
const MAX_JUMP_MS = 100;
/** The oldest date that this version can be run at. */
const RELEASED = Date.parse('2026-11-01T00:00:00Z');
const FETCH_TIMEOUT_MS = 5_000;
/** The header has whole seconds. */
const HEADER_STEP_MS = 1_000;
const MAX_OFFSET_MS = 2_000;
/** Certificates and logins by time are refused from about here on. */
const BAD_OFFSET_MS = 60_000;

const SYNCHRONISE =
  'Let the system keep its clock (systemd-timesyncd, chrony, or the settings of the virtual machine).';

export interface Clocks {
  /** Milliseconds of a clock that never goes back. */
  monotonicMs: () => number;
  dateMs: () => number;
  /** How long the two are compared. */
  watchMs?: number;
}

const SYSTEM: Clocks = { monotonicMs: () => performance.now(), dateMs: () => Date.now() };

/** @param httpUrl a server whose Date header is compared */
export async function checkClock(httpUrl: string | undefined, clocks = SYSTEM): Promise<Finding[]> {
  const findings = [await checkSteady(clocks)];
  if (httpUrl !== undefined) findings.push(await checkHttpDate(httpUrl, clocks));
  return findings;
}

async function checkSteady({ monotonicMs, dateMs, watchMs = WATCH_MS }: Clocks): Promise<Finding> {
  const [startMs, startDateMs] = [monotonicMs(), dateMs()];
  await delay(watchMs);
  const passedMs = monotonicMs() - startMs;
  const jumpMs = dateMs() - startDateMs - passedMs;
  if (passedMs <= 0)
    return failed('the monotonic clock stands still', 'Report this: the machine, or what emulates it, is broken.');
  if (startDateMs < RELEASED)
    return failed(`the date is ${new Date(startDateMs).toISOString()}, before this version was made`, SYNCHRONISE);
  if (Math.abs(jumpMs) > MAX_JUMP_MS)
    return warning(`the clock was moved by ${Math.round(jumpMs)} ms while it was watched`, SYNCHRONISE);
  return ok(`runs evenly, ${new Date(startDateMs).toISOString()}`);
}

async function checkHttpDate(url: string, { dateMs }: Clocks): Promise<Finding> {
  try {
    const beforeMs = dateMs();
    const response = await fetch(url, {
      method: 'HEAD',
      redirect: 'manual',
      signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
    });
    const theirsMs = Date.parse(response.headers.get('date') ?? '');
    if (Number.isNaN(theirsMs)) return warning(`${url} has no Date header`, 'Name another server by --clock.');
    return compareDates(url, theirsMs + HEADER_STEP_MS / 2, (beforeMs + dateMs()) / 2);
  } catch (error) {
    const { message, cause } = error as Error;
    return warning(
      `${url} does not answer: ${cause instanceof Error ? cause.message : message}`,
      'Name another server by --clock.',
    );
  }
}

/** A finding about the difference between this machine's date and another's. */
export function compareDates(theirs: string, theirsMs: number, oursMs: number): Finding {
  const offsetMs = oursMs - theirsMs;
  const size = Math.abs(offsetMs);
  const text = `this clock is ${(size / 1000).toFixed(1)} s ${offsetMs < 0 ? 'behind' : 'ahead of'} that of ${theirs}`;
  if (size > BAD_OFFSET_MS) return failed(text, SYNCHRONISE);
  return size > MAX_OFFSET_MS ? warning(text, SYNCHRONISE) : ok(text);
}
