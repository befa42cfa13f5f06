import type { PlacementView } from '@shoal/protocol';
import { token } from '../environment.ts';
import { type Cell, cellAt, labelEvery, type MapColour, type MapLayout, shadeOf } from './map-layout.ts';

/** Distinguishable shades of one hue: --ramp-1 to --ramp-5 in styles/base.css; --ramp-0 is none. */
export const RAMP_STEPS = 5;

export function drawMap(
  context: CanvasRenderingContext2D,
  layout: MapLayout,
  placement: PlacementView,
  colour: MapColour,
  at: Cell | null,
): void {
  context.clearRect(0, 0, layout.widthPx, layout.heightPx);
  drawLabels(context, layout, placement.layers);
  const ramp = Array.from({ length: RAMP_STEPS + 1 }, (_, i) => token(`ramp-${i}`));
  const trouble = token('trouble');
  const most = placement.load.reduce((top, row) => Math.max(top, ...row), 0);
  const width = layout.pitchX - layout.gapPx;
  const height = layout.pitchY - layout.gapPx;
  for (let layer = 0; layer < layout.layerCount; layer++) {
    for (let expert = 0; expert < layout.expertCount; expert++) {
      const { x, y } = cellAt(layout, layer, expert);
      const replicas = placement.replicas[layer]?.[expert] ?? 0;
      if (replicas === 0) {
        outline(context, x, y, width, height, trouble);
        continue;
      }
      const load = placement.load[layer]?.[expert] ?? 0;
      const shade = colour === 'replicas' ? Math.min(RAMP_STEPS, replicas) : shadeOf(load, most, RAMP_STEPS);
      context.fillStyle = ramp[shade] ?? '';
      context.fillRect(x, y, width, height);
    }
  }
  if (at) {
    const { x, y } = cellAt(layout, at.layer, at.expert);
    context.lineWidth = 2;
    context.strokeStyle = token('text');
    context.strokeRect(x - 1, y - 1, width + 2, height + 2);
  }
}

/** Hollow, so that an uncovered expert differs in more than colour. */
function outline(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  height: number,
  colour: string,
): void {
  context.strokeStyle = colour;
  const line = width >= 10 ? 2 : 1;
  context.lineWidth = line;
  context.strokeRect(x + line / 2, y + line / 2, width - line, height - line);
}

function drawLabels(context: CanvasRenderingContext2D, layout: MapLayout, layers: readonly number[]): void {
  context.fillStyle = token('muted');
  context.font = '11px system-ui, sans-serif';
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  const every = labelEvery(layout);
  for (let layer = 0; layer < layout.layerCount; layer += every) {
    const { y } = cellAt(layout, layer, 0);
    context.fillText(`${layers[layer] ?? ''}`, layout.leftPx - 8, y + layout.pitchY / 2);
  }
  context.textAlign = 'left';
  const experts = Math.max(1, 2 ** Math.ceil(Math.log2(30 / layout.pitchX)));
  for (let expert = 0; expert < layout.columns; expert += experts) {
    context.fillText(`${expert}`, cellAt(layout, 0, expert).x, layout.topPx / 2);
  }
}
