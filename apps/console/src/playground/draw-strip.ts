import type { TokenLap, TokenTrace } from '@shoal/protocol';
import { token as colourToken } from '../environment.ts';
import { peerColour, peerMark, type Scheme } from '../palette.ts';
import { peerIndex } from './peer-names.ts';
import { GUTTER_PX, lapMsOf, rowHeight, type StripLayout, TIME_PX, visibleText, WORD_PX } from './strip-layout.ts';

export const WORD_FONT = '15px system-ui, sans-serif';
const LABEL_FONT = '11px system-ui, sans-serif';

const COLUMN_GAP_PX = 2;
/** Gap between layers; low rows can only spare one pixel. */
const gapOf = (rowPx: number): number => (rowPx >= 12 ? 2 : 1);

export interface StripScale {
  layers: readonly number[];
  /** Lap time of a bar of full height. */
  fullMs: number;
  scheme: Scheme;
}

/** Draws one line of the strip; `selected` is the selected token if it is on this line. */
export function drawLine(
  context: CanvasRenderingContext2D,
  tokens: readonly TokenTrace[],
  layout: StripLayout,
  line: number,
  scale: StripScale,
  selected: number | null,
): void {
  const span = layout.lines[line];
  if (!span) return;
  const brush = makeBrush(context, scale);
  const rowPx = rowHeight(scale.layers.length);
  drawGutter(brush, scale, rowPx);
  for (let i = span.start; i < span.end; i++) {
    const token = tokens[i];
    if (!token) continue;
    const [x, width] = [layout.x[i] ?? 0, layout.columnPx[i] ?? 0];
    drawWord(brush, token.text, x, width, i === selected);
    token.laps.forEach((lap) => {
      const row = scale.layers.indexOf(lap.layer);
      if (row >= 0) drawCell(brush, lap, x, WORD_PX + row * rowPx, width - COLUMN_GAP_PX, rowPx - gapOf(rowPx));
    });
    const top = WORD_PX + scale.layers.length * rowPx + 2;
    const bar = Math.min(1, lapMsOf(token) / scale.fullMs) * (TIME_PX - 4);
    context.fillStyle = i === selected ? brush.text : brush.faint;
    context.fillRect(x, top, width - COLUMN_GAP_PX, Math.max(1, bar));
  }
  if (selected !== null && selected >= span.start && selected < span.end) {
    context.strokeStyle = brush.text;
    context.lineWidth = 2;
    const height = WORD_PX + scale.layers.length * rowPx;
    context.beginPath();
    context.roundRect((layout.x[selected] ?? 0) - 2, 1, (layout.columnPx[selected] ?? 0) + 2, height, 4);
    context.stroke();
  }
}

function drawGutter({ context, muted }: Brush, scale: StripScale, rowPx: number): void {
  context.font = LABEL_FONT;
  context.fillStyle = muted;
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  const every = Math.ceil(12 / rowPx);
  for (let row = 0; row < scale.layers.length; row += every) {
    context.fillText(`${scale.layers[row]}`, GUTTER_PX - 8, WORD_PX + row * rowPx + (rowPx - 1) / 2);
  }
  context.fillText('ms', GUTTER_PX - 8, WORD_PX + scale.layers.length * rowPx + TIME_PX / 2);
}

function drawWord(brush: Brush, text: string, x: number, width: number, selected: boolean): void {
  const { context } = brush;
  const shown = visibleText(text);
  context.save();
  context.beginPath();
  context.rect(x, 0, width, WORD_PX);
  context.clip();
  context.font = WORD_FONT;
  context.fillStyle = selected || shown === text.trim() ? brush.text : brush.muted;
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  // A token that begins a word is set off from the one before, as in print.
  const indent = /^\s/.test(text) ? 4 : 1;
  context.fillText(shown, x + indent, WORD_PX / 2);
  context.restore();
}

/** Colours, looked up once per drawing because each lookup forces the browser to compute styles. */
interface Brush {
  context: CanvasRenderingContext2D;
  scheme: Scheme;
  surface: string;
  text: string;
  muted: string;
  faint: string;
  hatch: CanvasPattern | string;
}

function makeBrush(context: CanvasRenderingContext2D, scale: StripScale): Brush {
  return {
    context,
    scheme: scale.scheme,
    surface: colourToken('surface'),
    text: colourToken('text'),
    muted: colourToken('muted'),
    faint: colourToken('faint'),
    hatch: hatchPattern(context),
  };
}

/** Diagonal lines for the coordinator's own work, recognisable without colour. */
function hatchPattern(context: CanvasRenderingContext2D): CanvasPattern | string {
  const tile = document.createElement('canvas');
  tile.width = tile.height = 5;
  const ink = tile.getContext('2d');
  const colour = colourToken('away');
  if (!ink) return colour;
  ink.strokeStyle = colour;
  ink.lineWidth = 1.2;
  for (const shift of [-5, 0, 5]) {
    ink.moveTo(shift, 5);
    ink.lineTo(shift + 5, 0);
  }
  ink.stroke();
  return context.createPattern(tile, 'repeat') ?? colour;
}

/** Draws a cell, split among the lap's tabs by the number of experts that each computed. */
function drawCell(brush: Brush, lap: TokenLap, x: number, y: number, width: number, height: number): void {
  const peers = lap.experts
    .map(({ peerId }) => peerId)
    .sort((a, b) => (a === null ? 1 : b === null ? -1 : peerIndex(a) - peerIndex(b)));
  const part = width / Math.max(1, peers.length);
  brush.context.save();
  brush.context.beginPath();
  brush.context.roundRect(x, y, width, height, height >= 10 ? 3 : 1);
  brush.context.clip();
  for (let from = 0; from < peers.length;) {
    let to = from + 1;
    while (to < peers.length && peers[to] === peers[from]) to++;
    drawPart(brush, peers[from] ?? null, x + from * part, y, (to - from) * part, height);
    from = to;
  }
  brush.context.restore();
}

function drawPart(brush: Brush, peerId: string | null, x: number, y: number, width: number, height: number): void {
  const { context } = brush;
  context.fillStyle = peerId === null ? brush.hatch : peerColour(peerIndex(peerId), brush.scheme);
  context.fillRect(x, y, width, height);
  const bars = peerId === null ? 0 : Math.min(2, peerMark(peerIndex(peerId)));
  context.fillStyle = brush.surface;
  for (let bar = 1; bar <= bars; bar++) context.fillRect(x, y + (height * bar) / (bars + 1) - 1, width, 2);
}
