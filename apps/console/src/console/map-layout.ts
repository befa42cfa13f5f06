/** `layer` is the map's row; the model's layer number is `placement.layers[layer]`. */
export interface Cell {
  layer: number;
  expert: number;
}
export type MapColour = 'replicas' | 'load';

/**
 * Positions of the placement map's cells: one row per layer, one column per expert. If a layer's experts don't fit side by side
 * at a usable size, its row is folded into several.
 */
export interface MapLayout {
  layerCount: number;
  expertCount: number;
  /** Experts side by side; a layer takes `rowsPerLayer` such rows. */
  columns: number;
  rowsPerLayer: number;
  /** Distance from one cell to the next in CSS pixels, including `gapPx`. */
  pitchX: number;
  pitchY: number;
  gapPx: number;
  /** Extra space between two layers. */
  layerGapPx: number;
  /** Layer numbers are to the left of this, expert numbers above `topPx`. */
  leftPx: number;
  topPx: number;
  widthPx: number;
  heightPx: number;
}

/** Smaller cells would blur. */
const MIN_PITCH_PX = 4;
/** Larger cells would only push the rest of the page down. */
const MAX_PITCH_PX = 28;
const MIN_PITCH_Y_PX = 7;
const LEFT_PX = 36;
const TOP_PX = 18;

export function mapLayout(availablePx: number, layerCount: number, expertCount: number): MapLayout {
  const roomPx = Math.max(MIN_PITCH_PX, availablePx - LEFT_PX);
  let columns = Math.max(1, expertCount);
  while (columns > 8 && roomPx / columns < MIN_PITCH_PX) columns = Math.ceil(columns / 2);
  const pitchX = Math.max(1, Math.min(MAX_PITCH_PX, Math.floor(roomPx / columns)));
  const pitchY = Math.max(MIN_PITCH_Y_PX, pitchX);
  const rowsPerLayer = Math.ceil(expertCount / columns);
  const layerGapPx = rowsPerLayer > 1 ? 4 : 0;
  return {
    layerCount,
    expertCount,
    columns,
    rowsPerLayer,
    pitchX,
    pitchY,
    gapPx: pitchX >= 12 ? 2 : 1,
    layerGapPx,
    leftPx: LEFT_PX,
    topPx: TOP_PX,
    widthPx: LEFT_PX + columns * pitchX,
    heightPx: TOP_PX + layerCount * (rowsPerLayer * pitchY + layerGapPx),
  };
}

/** Top left corner of a cell; `layer` is the map's row. */
export function cellAt(layout: MapLayout, layer: number, expert: number): { x: number; y: number } {
  const { columns, pitchX, pitchY, rowsPerLayer, layerGapPx } = layout;
  return {
    x: layout.leftPx + (expert % columns) * pitchX,
    y: layout.topPx + layer * (rowsPerLayer * pitchY + layerGapPx) + Math.floor(expert / columns) * pitchY,
  };
}

/** The cell under a point; null outside the map and between folded layers. */
export function cellUnder(layout: MapLayout, x: number, y: number): Cell | null {
  const { columns, pitchX, pitchY, rowsPerLayer, layerGapPx } = layout;
  const column = Math.floor((x - layout.leftPx) / pitchX);
  const layerPx = rowsPerLayer * pitchY + layerGapPx;
  const layer = Math.floor((y - layout.topPx) / layerPx);
  if (column < 0 || column >= columns || layer < 0 || layer >= layout.layerCount) return null;
  const row = Math.floor((y - layout.topPx - layer * layerPx) / pitchY);
  const expert = row * columns + column;
  return row < rowsPerLayer && expert < layout.expertCount ? { layer, expert } : null;
}

/** Number of layers per label, so that numbers of 11 px don't overlap. */
export function labelEvery(layout: MapLayout): number {
  return Math.ceil(12 / (layout.rowsPerLayer * layout.pitchY + layout.layerGapPx));
}

/** 0 for none, else 1 to `steps`, in equal steps up to `largest`. */
export function shadeOf(value: number, largest: number, steps: number): number {
  if (value <= 0 || largest <= 0) return 0;
  return Math.min(steps, Math.max(1, Math.ceil((value / largest) * steps)));
}
