/** A moment on the wall clock of the place where the computer is. */
export interface LocalMoment {
  year: number;
  /** 1 to 12. */
  month: number;
  /** 1 to 31. */
  day: number;
  /** 0: Monday. */
  weekday: number;
  minuteOfDay: number;
}

/** The wall clock at a time of Unix, in milliseconds. */
export type LocalTime = (unixMs: number) => LocalMoment;

export const MINUTE_MS = 60_000;

/** By the computer's own time zone, also after it has travelled. */
export const systemLocalTime: LocalTime = (unixMs) => {
  const date = new Date(unixMs);
  return {
    year: date.getFullYear(),
    month: date.getMonth() + 1,
    day: date.getDate(),
    weekday: (date.getDay() + 6) % 7,
    minuteOfDay: date.getHours() * 60 + date.getMinutes(),
  };
};

/** `2026-11-30`: sorts as time does. */
export function dateOf({ year, month, day }: LocalMoment): string {
  return `${monthOf({ year, month })}-${String(day).padStart(2, '0')}`;
}

/** `2026-11` */
export function monthOf({ year, month }: Pick<LocalMoment, 'year' | 'month'>): string {
  return `${year}-${String(month).padStart(2, '0')}`;
}

/**
 * The first whole minute after `unixMs` at which the wall clock is as asked; undefined if it isn't within `days` days. It looks at
 * every minute, since hours are skipped and repeated where clocks are changed, and offsets from UTC are whole minutes.
 */
export function nextMinute(
  unixMs: number,
  days: number,
  local: LocalTime,
  asked: (moment: LocalMoment) => boolean,
): number | undefined {
  const endMs = unixMs + days * 86_400_000;
  for (let ms = (Math.floor(unixMs / MINUTE_MS) + 1) * MINUTE_MS; ms <= endMs; ms += MINUTE_MS)
    if (asked(local(ms))) return ms;
  return undefined;
}

export function nextDay(unixMs: number, local: LocalTime): number | undefined {
  const today = dateOf(local(unixMs));
  return nextMinute(unixMs, 2, local, (moment) => dateOf(moment) !== today);
}

export function nextMonth(unixMs: number, local: LocalTime): number | undefined {
  const { year, month } = local(unixMs);
  let atMs: number | undefined = unixMs;
  while (atMs !== undefined && monthOf(local(atMs)) === monthOf({ year, month })) atMs = nextDay(atMs, local);
  return atMs;
}
