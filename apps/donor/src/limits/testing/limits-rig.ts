import type { LocalTime } from '../local-time.ts';

/** The wall clock of a time zone, as the zones' database has it. */
export function zoned(timeZone: string): LocalTime {
  const format = new Intl.DateTimeFormat('en', {
    timeZone,
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    hourCycle: 'h23',
  });
  /** Minutes ahead of UTC, by quarter of an hour: zones change their clocks at no other moments. */
  const offsets = new Map<number, number>();
  const offsetAt = (unixMs: number): number => {
    const quarter = Math.floor(unixMs / 900_000);
    const known = offsets.get(quarter);
    if (known !== undefined) return known;
    const at = quarter * 900_000;
    const part = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
    const { year = 0, month = 0, day = 0, hour = 0, minute = 0 } = part;
    const offset = (Date.UTC(year, month - 1, day, hour, minute) - at) / 60_000;
    offsets.set(quarter, offset);
    return offset;
  };
  return (unixMs) => {
    const date = new Date(unixMs + offsetAt(unixMs) * 60_000);
    return {
      year: date.getUTCFullYear(),
      month: date.getUTCMonth() + 1,
      day: date.getUTCDate(),
      weekday: (date.getUTCDay() + 6) % 7,
      minuteOfDay: date.getUTCHours() * 60 + date.getUTCMinutes(),
    };
  };
}
