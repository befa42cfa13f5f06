import { useSignal } from '@preact/signals';
import type { PlacementView } from '@shoal/protocol';
import { useEffect, useRef } from 'preact/hooks';
import { prepareCanvas, scheme, useWidth } from '../environment.ts';
import { formatFigure, formatNumber, plural } from '../format.ts';
import { drawMap, RAMP_STEPS } from './draw-map.ts';
import { type Cell, cellUnder, type MapColour, mapLayout } from './map-layout.ts';
import { layerSummaries, mapSummary } from './map-summary.ts';

export function PlacementMap({ placement, onPick }: { placement: PlacementView; onPick: (cell: Cell) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const width = useWidth(box);
  const colour = useSignal<MapColour>('replicas');
  const at = useSignal<Cell | null>(null);
  const layout = mapLayout(width, placement.layers.length, placement.expertsPerLayer);
  const colours = scheme.value;

  useEffect(() => {
    if (!canvas.current || width === 0) return;
    const context = prepareCanvas(canvas.current, layout.widthPx, layout.heightPx);
    if (context) drawMap(context, layout, placement, colour.value, at.value);
  }, [placement, width, colour.value, at.value, colours]);

  const move = (event: MouseEvent): Cell | null => {
    const rect = event.currentTarget instanceof Element ? event.currentTarget.getBoundingClientRect() : null;
    return rect ? cellUnder(layout, event.clientX - rect.left, event.clientY - rect.top) : null;
  };
  const onKey = (event: KeyboardEvent): void => {
    const here = at.value ?? { layer: 0, expert: 0 };
    const next = at.value ? step(event.key, here, layout.layerCount, layout.expertCount) : here;
    if (event.key === 'Enter' || event.key === ' ') {
      if (at.value) onPick(at.value);
    } else if (event.key === 'Escape') at.value = null;
    else if (next && event.key !== 'Tab' && event.key !== 'Shift') at.value = next;
    else return;
    event.preventDefault();
  };

  return (
    <section class="card" id="map" aria-labelledby="map-title" tabIndex={-1}>
      <h2 id="map-title">Placement</h2>
      <p class="muted" id="map-summary">
        {mapSummary(placement)}
      </p>
      <div class="filters">
        <fieldset>
          <legend>Colour by</legend>
          {(['replicas', 'load'] as const).map((name) => (
            <label>
              <input
                type="radio"
                name="map-colour"
                checked={colour.value === name}
                onChange={() => (colour.value = name)}
              />{' '}
              {name}
            </label>
          ))}
        </fieldset>
        <Legend placement={placement} colour={colour.value} />
      </div>
      <div ref={box} class="map">
        <div
          class="map-keys"
          role="application"
          tabIndex={0}
          aria-label="Placement map: one row per layer, one column per expert. Arrow keys move, Enter lists an expert’s tabs."
          aria-describedby="map-summary"
          onKeyDown={onKey}
          onFocus={() => (at.value ??= { layer: 0, expert: 0 })}
          style={{ width: `${layout.widthPx}px` }}
        >
          <canvas
            ref={canvas}
            aria-hidden="true"
            onPointerMove={(event) => (at.value = move(event))}
            onPointerLeave={() => (at.value = null)}
            onClick={(event) => {
              const cell = move(event);
              if (cell) onPick(cell);
            }}
          />
        </div>
      </div>
      <p class="readout" role="status">
        {at.value ? (
          describeCell(placement, at.value)
        ) : (
          <span class="muted">Point at a cell to see its tabs; click it to list them below.</span>
        )}
      </p>
      <details>
        <summary>Show as a table</summary>
        <div class="table-scroll" role="group" aria-label="Placement by layer" tabIndex={0}>
          <table>
            <thead>
              <tr>
                {['Layer', 'Experts covered', 'Uncovered', 'Fewest replicas', 'Tabs', 'Rows/s'].map((name, i) => (
                  <th scope="col" class={i > 0 ? 'numeric' : ''}>
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {layerSummaries(placement).map((row) => (
                <tr key={row.layer}>
                  <th scope="row">{row.layer}</th>
                  <td class="numeric">
                    {row.covered} of {placement.expertsPerLayer}
                  </td>
                  <td class="numeric">{row.uncovered.text}</td>
                  <td class="numeric">{row.fewest}</td>
                  <td class="numeric">{row.tabs}</td>
                  <td class="numeric">{formatFigure(row.rowsPerSecond)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </section>
  );
}

function step(key: string, { layer, expert }: Cell, layers: number, experts: number): Cell | null {
  const bound = (value: number, count: number): number => Math.max(0, Math.min(count - 1, value));
  if (key === 'ArrowLeft') return { layer, expert: bound(expert - 1, experts) };
  if (key === 'ArrowRight') return { layer, expert: bound(expert + 1, experts) };
  if (key === 'ArrowUp') return { layer: bound(layer - 1, layers), expert };
  if (key === 'ArrowDown') return { layer: bound(layer + 1, layers), expert };
  if (key === 'Home') return { layer, expert: 0 };
  if (key === 'End') return { layer, expert: experts - 1 };
  return null;
}

function describeCell(placement: PlacementView, { layer, expert }: Cell): string {
  const holders = (placement.holders[layer]?.[expert] ?? []).map((index) => placement.peerIds[index] ?? '?');
  const load = placement.load[layer]?.[expert] ?? 0;
  const where =
    holders.length === 0
      ? 'on no tab; the coordinator computes it'
      : `${plural(placement.replicas[layer]?.[expert] ?? 0, 'replica')} on ${holders.join(', ')}`;
  return `Layer ${placement.layers[layer]}, expert ${expert}: ${where} · ${formatFigure(load)} rows/s`;
}

function Legend({ placement, colour }: { placement: PlacementView; colour: MapColour }) {
  const steps = Array.from({ length: RAMP_STEPS }, (_, i) => i + 1);
  const most = placement.load.reduce((top, row) => Math.max(top, ...row), 0);
  return (
    <ul class="legend" aria-label="Colours">
      <li>
        <span class="swatch uncovered" aria-hidden="true" /> on no tab
      </li>
      {colour === 'load' && (
        <li>
          <span class="swatch ramp-0" aria-hidden="true" /> idle
        </li>
      )}
      {steps.map((n) => (
        <li>
          <span class={`swatch ramp-${n}`} aria-hidden="true" />{' '}
          {colour === 'replicas'
            ? `${n}${n === RAMP_STEPS ? ' or more' : ''}${n === 1 ? ' replica' : ''}`
            : `≤ ${most > 0 ? formatFigure((most * n) / RAMP_STEPS) : formatNumber(0)}${n === RAMP_STEPS ? ' rows/s' : ''}`}
        </li>
      ))}
    </ul>
  );
}
