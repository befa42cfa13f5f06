const MONTHS = 'January February March April May June July August September October November December'.split(' ');
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');

const padded = (value: number, length = 2): string => String(value).padStart(length, '0');
const hour12 = (date: Date): number => date.getHours() % 12 || 12;
const dayOfYear = (date: Date): number =>
  Math.round(
    (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 0)) / 86_400_000,
  );

const DIRECTIVES: Record<string, (date: Date) => string> = {
  A: (date) => DAYS[date.getDay()]!,
  a: (date) => DAYS[date.getDay()]!.slice(0, 3),
  B: (date) => MONTHS[date.getMonth()]!,
  b: (date) => MONTHS[date.getMonth()]!.slice(0, 3),
  d: (date) => padded(date.getDate()),
  e: (date) => String(date.getDate()).padStart(2, ' '),
  F: (date) => strftime(date, '%Y-%m-%d'),
  H: (date) => padded(date.getHours()),
  I: (date) => padded(hour12(date)),
  j: (date) => padded(dayOfYear(date), 3),
  M: (date) => padded(date.getMinutes()),
  m: (date) => padded(date.getMonth() + 1),
  p: (date) => (date.getHours() < 12 ? 'AM' : 'PM'),
  S: (date) => padded(date.getSeconds()),
  T: (date) => strftime(date, '%H:%M:%S'),
  w: (date) => String(date.getDay()),
  Y: (date) => String(date.getFullYear()),
  y: (date) => padded(date.getFullYear() % 100),
  // A time without a zone, as Python's `datetime.now()`.
  Z: () => '',
  z: () => '',
  '%': () => '%',
};

/** Python's `strftime` in its own locale, in local time; `%-d` is the day without a zero in front. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%(-?)([A-Za-z%])/g, (whole, bare: string, name: string) => {
    const text = DIRECTIVES[name]?.(date);
    if (text === undefined) return whole;
    return bare ? text.replace(/^[0 ]+(?=.)/, '') : text;
  });
}
