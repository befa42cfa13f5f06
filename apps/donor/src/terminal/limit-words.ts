import { type Hours, type LimitSettings, MIN_TRAFFIC_BYTES, UNLIMITED } from '../limits/settings.ts';
import { hoursText } from '../limits/words.ts';
import { formatBytes } from '../format.ts';

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
const EVERY_DAY = DAYS.map(() => true);

/** The hours of a day, such as `22:00-07:00`; undefined if the text is something else. */
export function readHours(given: string): Pick<Hours, 'fromMinute' | 'toMinute'> | undefined {
  const parts = /^([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-3]):([0-5]\d)$/.exec(given.trim());
  if (!parts) return undefined;
  const [fromHour, fromMinute, toHour, toMinute] = parts.slice(1).map(Number) as [number, number, number, number];
  return { fromMinute: fromHour * 60 + fromMinute, toMinute: toHour * 60 + toMinute };
}

/** Days of the week, Monday first, such as `mon-fri` or `fri,sat-mon`; undefined if the text is something else. */
export function readDays(given: string): boolean[] | undefined {
  const days = DAYS.map(() => false);
  for (const part of given.toLowerCase().split(',')) {
    const [first, last = first] = part.split('-').map((name) => DAYS.indexOf(name.trim()));
    if (first! < 0 || last! < 0 || part.split('-').length > 2) return undefined;
    for (let day = first!; ; day = (day + 1) % DAYS.length) {
      days[day] = true;
      if (day === last) break;
    }
  }
  return days;
}

/** Limits as they are given on the command line; what isn't given isn't limited. */
export interface GivenLimits {
  sharePercent?: number | undefined;
  hours?: ReturnType<typeof readHours>;
  days?: readonly boolean[] | undefined;
  dayBytes?: number | undefined;
  monthBytes?: number | undefined;
}

/** Throws a RangeError where a budget is smaller than what a donor needs to stay connected. */
export function limitsOf({ sharePercent = 100, hours, days, dayBytes, monthBytes }: GivenLimits): LimitSettings {
  for (const [per, bytes] of Object.entries({ day: dayBytes, month: monthBytes }))
    if (bytes !== undefined && bytes < MIN_TRAFFIC_BYTES)
      throw new RangeError(
        `--traffic-per-${per} has to be at least ${formatBytes(MIN_TRAFFIC_BYTES)}: less would be used up by what a donor ` +
          'sends to stay connected',
      );
  // From midnight to midnight, where days alone are given.
  const wholeDay = { fromMinute: 0, toMinute: 0 };
  const isTimed = hours !== undefined || days !== undefined;
  return {
    ...UNLIMITED,
    sharePercent,
    dayBytes,
    monthBytes,
    hours: isTimed ? { days: days ?? EVERY_DAY, ...(hours ?? wholeDay) } : undefined,
  };
}

/** Limits besides memory, for the terms; undefined if there are none. */
export function limitsText({ sharePercent, dayBytes, monthBytes, hours }: LimitSettings): string | undefined {
  const parts = [
    sharePercent < 100 && `works ${sharePercent} % of the time at most`,
    hours && `lends ${hoursText(hours)}, by this machine’s clock`,
    dayBytes !== undefined && `at most ${formatBytes(dayBytes)} of traffic a day`,
    monthBytes !== undefined && `at most ${formatBytes(monthBytes)} of traffic a month`,
  ].filter(Boolean);
  return parts.length === 0 ? undefined : parts.join('; ');
}
