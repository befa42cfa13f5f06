import type { TokenTrace } from '@shoal/protocol';

/**
 * The strip is set like a score: the answer's words on lines, and under each word a column with one cell per layer.
 * All sizes in CSS pixels.
 */
export interface StripLine {
  /** Tokens `start` to `end - 1` stand on this line. */
  start: number;
  end: number;
}

export interface StripLayout {
  lines: StripLine[];
  /** Left edge of each token's column on its line, and the column's width. */
  x: number[];
  columnPx: number[];
}

/** Room for the layer numbers to the left. */
export const GUTTER_PX = 34;
export const WORD_PX = 24;
/** Lap times stand as bars under the cells. */
export const TIME_PX = 22;
export const LINE_GAP_PX = 14;
const MIN_COLUMN_PX = 12;
const WORD_MARGIN_PX = 6;

/** Few layers are drawn tall enough to see stripes of experts, many low enough to see the whole model. */
export function rowHeight(layerCount: number): number {
  if (layerCount <= 8) return 16;
  return layerCount <= 32 ? 7 : 3;
}

export function lineHeight(layerCount: number): number {
  return WORD_PX + layerCount * rowHeight(layerCount) + TIME_PX;
}

/** Breaks tokens of the given text widths into lines; a word too wide for a line has one for itself, cut off. */
export function stripLayout(textPx: readonly number[], availablePx: number): StripLayout {
  const roomPx = Math.max(MIN_COLUMN_PX, availablePx - GUTTER_PX);
  const layout: StripLayout = { lines: [], x: [], columnPx: [] };
  let atPx = 0;
  for (let i = 0; i < textPx.length; i++) {
    const column = Math.min(roomPx, Math.max(MIN_COLUMN_PX, Math.ceil(textPx[i] ?? 0) + WORD_MARGIN_PX));
    const line = layout.lines.at(-1);
    if (!line || atPx + column > roomPx) {
      layout.lines.push({ start: i, end: i + 1 });
      atPx = 0;
    } else line.end = i + 1;
    layout.x.push(GUTTER_PX + atPx);
    layout.columnPx.push(column);
    atPx += column;
  }
  return layout;
}

/** The token under a point of a line; beside the line's ends, its first or last. */
export function tokenAt(layout: StripLayout, line: number, x: number): number | null {
  const span = layout.lines[line];
  if (!span) return null;
  for (let i = span.start; i < span.end; i++) {
    if (x < (layout.x[i] ?? 0) + (layout.columnPx[i] ?? 0)) return i;
  }
  return span.end - 1;
}

/** Where a key leads from a token: along the line, or to the token above or below; null for a key that means nothing here. */
export function stepFrom(layout: StripLayout, at: number, key: string): number | null {
  const last = layout.x.length - 1;
  if (last < 0) return null;
  if (key === 'ArrowLeft') return Math.max(0, at - 1);
  if (key === 'ArrowRight') return Math.min(last, at + 1);
  if (key === 'Home') return 0;
  if (key === 'End') return last;
  const line = layout.lines.findIndex((span) => at < span.end);
  const target = key === 'ArrowUp' ? line - 1 : key === 'ArrowDown' ? line + 1 : null;
  if (target === null) return null;
  return tokenAt(layout, target, (layout.x[at] ?? 0) + (layout.columnPx[at] ?? 0) / 2) ?? at;
}

/** How a token's text is shown: what would be invisible gets a sign. */
export function visibleText(text: string): string {
  if (text === '') return '·';
  const shown = text.replaceAll('\n', '⏎').replaceAll('\t', '⇥').trim();
  return shown === '' ? '␣' : shown;
}

export interface PeerShare {
  peerId: string | null;
  experts: number;
  share: number;
}

/** Who did how much: expert computations by tab, in the order in which the tabs first appear, the coordinator last. */
export function peerShares(tokens: readonly TokenTrace[]): PeerShare[] {
  const counts = new Map<string | null, number>();
  let total = 0;
  for (const token of tokens) {
    for (const lap of token.laps) {
      for (const { peerId } of lap.experts) {
        counts.set(peerId, (counts.get(peerId) ?? 0) + 1);
        total += 1;
      }
    }
  }
  return [...counts]
    .map(([peerId, experts]) => ({ peerId, experts, share: experts / total }))
    .sort((a, b) => Number(a.peerId === null) - Number(b.peerId === null));
}

export const lapMsOf = (token: TokenTrace): number => token.laps.reduce((sum, lap) => sum + lap.lapMs, 0);

/** Layers that the coordinator holds make none. */
export const lapsOf = (token: TokenTrace): number => token.laps.filter(({ resident }) => !resident).length;

/** The next of 1, 2, 5, 10, … at or above a value, so that the scale of the bars seldom changes. */
export function niceCeiling(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value * (1 - 1e-9)) ?? value;
}
