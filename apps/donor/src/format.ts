const count = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** `1,234,567` */
export function formatCount(value: number): string {
  return count.format(value);
}

/** A rate or a time, with a decimal only below ten: `0.4`, `12`, `1,204`. */
export function formatFigure(value: number): string {
  return value < 10 && value > 0 ? value.toFixed(1) : formatCount(value);
}

/** Traffic and storage, in decimal units: `212 MB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1_000) return `${formatCount(bytes)} B`;
  if (bytes < 1_000_000) return `${formatFigure(bytes / 1e3)} kB`;
  if (bytes < 1_000_000_000) return `${formatFigure(bytes / 1e6)} MB`;
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

/** Memory, in binary units: `512 MiB`, `1.5 GiB`. */
export function formatMemory(bytes: number): string {
  const mib = bytes / 2 ** 20;
  if (mib < 1024) return `${formatFigure(mib)} MiB`;
  const gib = mib / 1024;
  return `${Number.isInteger(gib) ? gib : gib.toFixed(1)} GiB`;
}

/** `46 s`, `3 min`, `2 h 5 min` */
export function formatDuration(seconds: number): string {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `0.4 ms`, `23 ms` */
export function formatMs(ms: number): string {
  return `${formatFigure(ms)} ms`;
}

/** Keeps a line from breaking at the dash of a range. */
const WORD_JOINER = '\u2060';

/** `layer 3`, `layers 3–5`, `layers 3–5, 9` */
export function formatLayers(layers: readonly number[]): string {
  const sorted = [...new Set(layers)].sort((a, b) => a - b);
  const ranges: [number, number][] = [];
  for (const layer of sorted) {
    const last = ranges.at(-1);
    if (last && layer === last[1] + 1) last[1] = layer;
    else ranges.push([layer, layer]);
  }
  const text = ranges
    .map(([from, to]) => (from === to ? `${from}` : `${from}${WORD_JOINER}–${WORD_JOINER}${to}`))
    .join(', ');
  return `${sorted.length === 1 ? 'layer' : 'layers'} ${text}`;
}

/** `1 expert`, `128 experts` */
export function formatPlural(value: number, noun: string): string {
  return `${formatCount(value)} ${noun}${value === 1 ? '' : 's'}`;
}
