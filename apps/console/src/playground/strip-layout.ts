import type { TokenTrace } from '@shoal/protocol';

/** A line of the strip: the answer's words, and under each a column with one cell per layer. Sizes are in CSS pixels. */
export interface StripLine {
  /** Tokens `start` to `end - 1` are on this line. */
  start: number;
  end: number;
}

export interface StripLayout {
  lines: StripLine[];
  /** Left edge and width of each token's column. */
  x: number[];
  columnPx: number[];
}

/** Space for the layer numbers on the left. */
export const GUTTER_PX = 34;
export const WORD_PX = 24;
/** Height of the lap-time bars under the cells. */
export const TIME_PX = 22;
export const LINE_GAP_PX = 14;
const MIN_COLUMN_PX = 12;
const WORD_MARGIN_PX = 6;

/** Few layers get rows tall enough to see the stripes of experts; many get low ones to show the whole model. */
export function rowHeight(layerCount: number): number {
  if (layerCount <= 8) return 16;
  return layerCount <= 32 ? 7 : 3;
}

export function lineHeight(layerCount: number): number {
  return WORD_PX + layerCount * rowHeight(layerCount) + TIME_PX;
}

/** Breaks tokens of the given widths into lines; a word that is too wide gets a line of its own and is cut off. */
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

/** The token under a point of a line; beyond the ends, the first or last. */
export function tokenAt(layout: StripLayout, line: number, x: number): number | null {
  const span = layout.lines[line];
  if (!span) return null;
  for (let i = span.start; i < span.end; i++) {
    if (x < (layout.x[i] ?? 0) + (layout.columnPx[i] ?? 0)) return i;
  }
  return span.end - 1;
}

/** The token that a key moves to, along the line or to the one above or below; null for other keys. */
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

/** A token's text with symbols for invisible characters. */
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

/** Counts expert computations by tab, in order of first appearance, the coordinator last. */
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

/** Number of laps; local layers need none. */
export const lapsOf = (token: TokenTrace): number => token.laps.filter(({ resident }) => !resident).length;

/** The next of 1, 2, 5, 10, … at or above a value, so that the bars' scale rarely changes. */
export function niceCeiling(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value * (1 - 1e-9)) ?? value;
}
