import type { HistoryPoint, HistoryRange } from '@shoal/protocol';
import { formatBytes, formatCount, formatFigure, formatMs, formatShare } from '../../format.ts';

/** A figure of the history: how it is called, read and written. */
export interface Series {
  name: string;
  unit: string;
  read: (point: HistoryPoint) => number | null;
  format: (value: number) => string;
  /** Whether it has a chart of its own; the others are in the table only. */
  isDrawn: boolean;
}

const percent = (share: number | null): number | null => (share === null ? null : share * 100);

export const SERIES: readonly Series[] = [
  { name: 'Tokens per second', unit: 'tokens/s', read: (p) => p.tokensPerSecond, format: formatFigure, isDrawn: true },
  { name: 'First token, 95th percentile', unit: 'ms', read: (p) => p.firstTokenMsP95, format: formatMs, isDrawn: true },
  { name: 'First token, median', unit: 'ms', read: (p) => p.firstTokenMsP50, format: formatMs, isDrawn: false },
  { name: 'Streams', unit: 'streams', read: (p) => p.streams, format: formatCount, isDrawn: true },
  { name: 'Waiting requests', unit: 'requests', read: (p) => p.queued, format: formatCount, isDrawn: false },
  { name: 'Tabs', unit: 'tabs', read: (p) => p.tabs, format: formatCount, isDrawn: true },
  {
    name: 'Experts that a tab held',
    unit: '%',
    read: (p) => percent(p.coverage),
    format: (value) => formatShare(value / 100),
    isDrawn: true,
  },
  {
    name: 'Work that the coordinator did instead of tabs',
    unit: '%',
    read: (p) => percent(p.fallbackShare),
    format: (value) => formatShare(value / 100),
    isDrawn: true,
  },
  { name: 'Laps per second', unit: 'laps/s', read: (p) => p.lapsPerSecond, format: formatFigure, isDrawn: false },
  {
    name: 'Traffic of laps',
    unit: 'kB/s',
    read: (p) => p.bytesPerSecond / 1_000,
    format: (value) => `${formatBytes(value * 1_000)}/s`,
    isDrawn: true,
  },
  {
    name: 'Failed and refused requests',
    unit: 'requests',
    read: (p) => p.errors + p.refused,
    format: formatCount,
    isDrawn: true,
  },
];

export const RANGE_NAMES: Readonly<Record<HistoryRange, string>> = {
  '1h': 'Last hour',
  '24h': 'Last 24 hours',
  '7d': 'Last 7 days',
  '30d': 'Last 30 days',
};

/** The local time of a point, as short as the step allows: `14:05`, or `30 Nov, 14:00`. */
export function timeOf(atMs: number, stepS: number): string {
  const time = new Date(atMs);
  const clock = time.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' });
  if (stepS < 3_600) return clock;
  return `${time.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })}, ${clock}`;
}
