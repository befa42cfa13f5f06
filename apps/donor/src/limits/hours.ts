import { type LocalMoment, type LocalTime, nextMinute } from './local-time.ts';
import type { Hours } from './settings.ts';

/** A week, and a day for the change of clocks. */
const HORIZON_DAYS = 8;

/** Where nothing changes within the horizon. */
const LOOK_AGAIN_MS = 86_400_000;

interface Opening {
  isOpen: boolean;
  /** When that changes; undefined if it doesn't within a week. */
  untilMs: number | undefined;
}

/** Whether lending is allowed at this moment of the wall clock. */
export function isOpen({ days, fromMinute, toMinute }: Hours, { weekday, minuteOfDay }: LocalMoment): boolean {
  const isToday = days[weekday] === true;
  const isSinceYesterday = days[(weekday + 6) % 7] === true;
  if (fromMinute < toMinute) return isToday && minuteOfDay >= fromMinute && minuteOfDay < toMinute;
  return (isToday && minuteOfDay >= fromMinute) || (isSinceYesterday && minuteOfDay < toMinute);
}

/**
 * Answers when lending is allowed next, or no longer, and remembers it, since a page asks every second. Looks again if the wall
 * clock was changed.
 */
export class HoursWatch {
  readonly #local: LocalTime;
  #known: { hours: Hours; fromMs: number; untilMs: number; offset: number; answer: Opening } | undefined;

  constructor(local: LocalTime) {
    this.#local = local;
  }

  at(hours: Hours, unixMs: number): Opening {
    const known = this.#known;
    const offset = offsetOf(this.#local, unixMs);
    if (known?.hours !== hours || unixMs < known.fromMs || unixMs >= known.untilMs || offset !== known.offset) {
      const open = isOpen(hours, this.#local(unixMs));
      const changeMs = nextMinute(unixMs, HORIZON_DAYS, this.#local, (moment) => isOpen(hours, moment) !== open);
      const answer = { isOpen: open, untilMs: changeMs };
      this.#known = { hours, fromMs: unixMs, untilMs: changeMs ?? unixMs + LOOK_AGAIN_MS, offset, answer };
      return answer;
    }
    return known.answer;
  }
}

/** A number that changes when the wall clock is set, or its zone. */
function offsetOf(local: LocalTime, unixMs: number): number {
  const { minuteOfDay } = local(unixMs);
  return (minuteOfDay - Math.floor(unixMs / 60_000) + 1440 * 1e6) % 1440;
}
