/** Stands for a missing figure. */
export const NOTHING = '–';

const formats = new Map<number, Intl.NumberFormat>();

/** A count, or an average of counts: `5` → `5`, `5.25` → `5.25`. */
export function formatCount(value: number): string {
  return Number.isInteger(value) ? formatNumber(value) : formatFigure(value);
}

/** `12345.678, 1` → `12,345.7`. */
export function formatNumber(value: number, digits = 0): string {
  let format = formats.get(digits);
  if (!format) {
    format = new Intl.NumberFormat('en-GB', { minimumFractionDigits: digits, maximumFractionDigits: digits });
    formats.set(digits, format);
  }
  return format.format(value);
}

/** At most three significant digits below a thousand, so that columns stay narrow. */
export function formatFigure(value: number): string {
  const size = Math.abs(value);
  if (size === 0 || size >= 100) return formatNumber(value);
  return formatNumber(value, size >= 10 ? 1 : 2);
}

function scaled(value: number, base: number, units: readonly string[]): string {
  let size = value;
  let unit = 0;
  while (Math.abs(size) >= base && unit < units.length - 1) {
    size /= base;
    unit += 1;
  }
  return `${unit === 0 ? formatNumber(size) : formatFigure(size)} ${units[unit] ?? ''}`;
}

/** Traffic, in powers of 1000: `20,480` → `20.5 kB`. */
export function formatBytes(bytes: number): string {
  return scaled(bytes, 1000, ['B', 'kB', 'MB', 'GB', 'TB']);
}

/** Memory, in powers of 1024: `1073741824` → `1.00 GiB`. */
export function formatMemory(bytes: number): string {
  return scaled(bytes, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']);
}

/** `4.236` → `4.24 ms`; in seconds from 10 s. */
export function formatMs(ms: number): string {
  return ms >= 10_000 ? `${formatFigure(ms / 1000)} s` : `${formatFigure(ms)} ms`;
}

/** A share from 0 to 1 in per cent, never rounded to 0 % or 100 %. */
export function formatShare(share: number): string {
  const percent = share * 100;
  if (percent > 0 && percent < 0.1) return '< 0.1 %';
  if (percent < 100 && percent > 99.9) return '> 99.9 %';
  return `${percent === 0 || percent === 100 ? formatNumber(percent) : formatNumber(percent, 1)} %`;
}

/** `3725000` → `1 h 2 min`: the two largest units. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  // Beyond ten minutes, ticking seconds would only distract.
  if (minutes < 10) return `${minutes} min ${seconds % 60} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A day (`2030-01-31`) or the local day of an ISO time: `31 Jan 2030`. */
export function formatDay(iso: string): string {
  const isDay = !iso.includes('T');
  return new Date(iso).toLocaleDateString('en-GB', { dateStyle: 'medium', ...(isDay && { timeZone: 'UTC' }) });
}

/** The local time of an ISO time: `31 Jan 2030, 12:00`. */
export function formatTime(iso: string): string {
  return new Date(iso).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
}

/** Local time of day, `HH:MM:SS`. */
export function formatClock(timeMs: number): string {
  const time = new Date(timeMs);
  return [time.getHours(), time.getMinutes(), time.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}

/** `[3, 4, 5, 7]` → `3–5, 7`. */
export function formatRanges(numbers: readonly number[]): string {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let i = 0; i < sorted.length; i++) {
    const first = sorted[i] as number;
    while (sorted[i + 1] === (sorted[i] as number) + 1) i++;
    const last = sorted[i] as number;
    parts.push(first === last ? `${first}` : `${first}–${last}`);
  }
  return parts.join(', ');
}

/** `1, 'tab'` → `1 tab`, `2, 'tab'` → `2 tabs`. */
export function plural(count: number, noun: string, nouns = `${noun}s`): string {
  return `${formatNumber(count)} ${count === 1 ? noun : nouns}`;
}
