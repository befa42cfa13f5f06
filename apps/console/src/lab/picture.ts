import type { LabLayer, LabStudy } from '@shoal/protocol';
import { type Cell, cellsOf, largestWeight } from './study.ts';

export interface PictureColours {
  surface: string;
  text: string;
  muted: string;
  trouble: string;
  bar: string;
  /** None, then more and more. */
  ramp: readonly string[];
}

/** Where the parts of a picture are: a panel for each layer, tokens across and experts down, and the load beside it. */
export interface PictureLayout {
  width: number;
  height: number;
  columns: number;
  panelWidth: number;
  panelHeight: number;
  cellWidth: number;
  cellHeight: number;
  /** Room for the tokens' texts below a panel; 0 where cells are too narrow for them. */
  textHeight: number;
  tokens: number;
  experts: number;
}

const LEFT = 34;
const TITLE = 22;
const HEAD = 50;
const BAR = 46;
const GAP = 18;
const FONT = 'system-ui, sans-serif';
/** Texts of tokens need cells of this width, in pixels, and are cut after so many characters. */
const TEXT_CELL = 11;
const TEXT_HEIGHT = 50;
const TEXT_CHARS = 9;
/** Room for the words that say whose gate it is. */
const LEAST_WIDTH = 260;
/** Width of a character of a gate's name, on average and with room to spare. */
const NAME_CHAR = 7;
/** Cells are this wide at most, and narrower than MIN_CELL only where a panel has no more room. */
const MAX_CELL = 14;
const MIN_CELL = 5;

/** A picture of about `width` pixels, with as many panels beside each other as leave cells wide enough. */
export function pictureLayout(width: number, layers: number, tokens: number, experts: number): PictureLayout {
  const room = Math.max(280, width);
  const cellOf = (columns: number): number => {
    const panel = (room + GAP) / columns - GAP;
    return Math.max(2, Math.min(MAX_CELL, Math.floor((panel - LEFT - BAR) / tokens)));
  };
  const widest = cellOf(1);
  const wanted = widest >= TEXT_CELL ? TEXT_CELL : Math.min(widest, MIN_CELL);
  let columns = 1;
  while (columns < layers && LEFT + BAR + tokens * wanted <= (room + GAP) / (columns + 1) - GAP) columns++;
  const cellWidth = cellOf(columns);
  const cellHeight = experts <= 16 ? 10 : experts <= 64 ? 6 : experts <= 128 ? 3 : 2;
  const textHeight = cellWidth >= TEXT_CELL ? TEXT_HEIGHT : 6;
  const panelWidth = LEFT + tokens * cellWidth + BAR;
  const panelHeight = TITLE + experts * cellHeight + textHeight;
  const height = HEAD + Math.ceil(layers / columns) * (panelHeight + GAP) - GAP;
  const sizes = { columns, panelWidth, panelHeight, cellWidth, cellHeight, textHeight, tokens, experts };
  return { width: Math.max(LEAST_WIDTH, columns * (panelWidth + GAP) - GAP), height, ...sizes };
}

/** The top left corner of a layer's cells. */
function origin({ columns, panelWidth, panelHeight }: PictureLayout, index: number): { x: number; y: number } {
  const [column, row] = [index % columns, Math.floor(index / columns)];
  return { x: column * (panelWidth + GAP) + LEFT, y: HEAD + row * (panelHeight + GAP) + TITLE };
}

/** What is at a point of the picture. */
export function pointAt(layout: PictureLayout, layers: number, x: number, y: number) {
  for (let index = 0; index < layers; index++) {
    const at = origin(layout, index);
    const token = Math.floor((x - at.x) / layout.cellWidth);
    const expert = Math.floor((y - at.y) / layout.cellHeight);
    if (token >= 0 && token < layout.tokens && expert >= 0 && expert < layout.experts) return { index, token, expert };
  }
  return null;
}

/** The whole picture as an SVG document that needs nothing but itself. */
export function pictureOf(study: LabStudy, layout: PictureLayout, colours: PictureColours): string {
  const most = largestWeight(study);
  const panels = study.layers.map((layer, i) => panel(study, layer, layout, origin(layout, i), most, colours));
  const { width, height } = layout;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    `<title>${escaped(`${study.model}: ${titleOf(study)}`)}</title>`,
    `<rect width="${width}" height="${height}" fill="${colours.surface}"/>`,
    label(whoseOf(study), 0, 16, { size: 14, fill: colours.text, weight: 650 }),
    label(cut(nameOf(study), width / NAME_CHAR), 0, 34, { size: 12, fill: colours.muted }),
    ...panels,
    '</svg>',
  ].join('\n');
}

/** What a picture shows, and whether it is the model's gate. */
export function titleOf(study: LabStudy): string {
  return `${whoseOf(study)}: ${nameOf(study)}`;
}

const whoseOf = ({ isOwn }: LabStudy): string => (isOwn ? 'The model’s own gate' : 'For study, not the model’s gate');

function nameOf({ title, isOwn, settings }: LabStudy): string {
  const set = isOwn ? [] : Object.entries(settings).map(([name, value]) => `${name} ${value}`);
  return set.length > 0 ? `${title} (${set.join(', ')})` : title;
}

function cut(text: string, chars: number): string {
  return text.length > chars ? `${text.slice(0, Math.floor(chars) - 1)}…` : text;
}

function panel(
  study: LabStudy,
  layer: LabLayer,
  layout: PictureLayout,
  { x, y }: { x: number; y: number },
  most: number,
  colours: PictureColours,
): string {
  const { cellWidth, cellHeight, tokens, experts } = layout;
  const cells = study.tokens.flatMap((_, token) => cellsOf(layer, token));
  const shades = colours.ramp.slice(1).map((fill, i) => {
    const shaded = cells.filter(({ weight }) => shadeOf(weight, most, colours.ramp.length - 1) === i + 1);
    return shaded.length === 0 ? '' : `<path fill="${fill}" d="${shaded.map(square(layout)).join('')}"/>`;
  });
  return [
    `<g transform="translate(${x} ${y})">`,
    label(`Layer ${layer.layer}`, 0, -7, { size: 12, fill: colours.text, weight: 600 }),
    label('load', tokens * cellWidth + 6, -7, { size: 10, fill: colours.muted }),
    `<rect width="${tokens * cellWidth}" height="${experts * cellHeight}" fill="${colours.ramp[0]}"/>`,
    ...shades,
    crosses(layer, layout, colours.trouble),
    loads(layer, layout, colours.bar),
    expertLabels(layout, colours.muted),
    layout.textHeight > TEXT_CELL ? tokenLabels(study, layout, colours.muted) : '',
    '</g>',
  ].join('');
}

/** 0 for none, then 1 to `steps`. */
export function shadeOf(weight: number, most: number, steps: number): number {
  return weight <= 0 || most <= 0 ? 0 : Math.max(1, Math.min(steps, Math.ceil((weight / most) * steps)));
}

const square = ({ cellWidth, cellHeight }: PictureLayout) => {
  const gap = cellWidth >= 6 && cellHeight >= 5 ? 1 : 0;
  const [w, h] = [cellWidth - gap, cellHeight - gap];
  return ({ token, expert }: Cell): string => `M${token * cellWidth} ${expert * cellHeight}h${w}v${h}h${-w}z`;
};

/** A cross for each assignment that had no room: more than a colour. */
function crosses({ dropped = [] }: LabLayer, { cellWidth, cellHeight }: PictureLayout, stroke: string): string {
  if (dropped.length === 0) return '';
  const lines = dropped.map(([token, expert]) => {
    const [x, y, w, h] = [token * cellWidth, expert * cellHeight, cellWidth - 1, cellHeight - 1];
    return `M${x} ${y}l${w} ${h}M${x + w} ${y}l${-w} ${h}`;
  });
  return `<path fill="none" stroke="${stroke}" stroke-width="1.2" d="${lines.join('')}"/>`;
}

function loads(
  { figures: { load } }: LabLayer,
  { tokens, cellWidth, cellHeight }: PictureLayout,
  fill: string,
): string {
  const most = Math.max(1, ...load);
  const bars = load.map((count, expert) => {
    const length = Math.round(((BAR - 8) * count * 10) / most) / 10;
    return count === 0
      ? ''
      : `M${tokens * cellWidth + 6} ${expert * cellHeight}h${length}v${cellHeight - 0.5}h${-length}z`;
  });
  return `<path fill="${fill}" d="${bars.join('')}"/>`;
}

function expertLabels({ experts, cellHeight }: PictureLayout, fill: string): string {
  const every = 2 ** Math.ceil(Math.log2(16 / cellHeight));
  const at = Array.from({ length: Math.ceil(experts / every) }, (_, i) => i * every);
  return at
    .map((expert) => label(String(expert), -6, (expert + 0.5) * cellHeight + 3, { size: 9, fill, anchor: 'end' }))
    .join('');
}

function tokenLabels({ tokens }: LabStudy, { cellWidth, cellHeight, experts }: PictureLayout, fill: string): string {
  return tokens
    .map(({ text }, token) => {
      const [x, y] = [(token + 0.5) * cellWidth + 3, experts * cellHeight + 6];
      const shown = text.trim() === '' ? '␣' : Array.from(text.trim()).slice(0, TEXT_CHARS).join('');
      return `<text transform="translate(${x} ${y}) rotate(90)" font-family="${FONT}" font-size="9" fill="${fill}">${escaped(shown)}</text>`;
    })
    .join('');
}

interface TextStyle {
  size: number;
  fill: string;
  weight?: number;
  anchor?: string;
}

function label(text: string, x: number, y: number, { size, fill, weight = 400, anchor = 'start' }: TextStyle): string {
  const style = `font-family="${FONT}" font-size="${size}" font-weight="${weight}" text-anchor="${anchor}" fill="${fill}"`;
  return `<text x="${x}" y="${y}" ${style}>${escaped(text)}</text>`;
}

/** Fit for XML, in which control characters have no place. */
function escaped(text: string): string {
  const printable = Array.from(text, (character) =>
    character < ' ' || (character > '\ufffd' && character.length === 1) ? '␣' : character,
  ).join('');
  return printable.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
