import { useSignal } from '@preact/signals';
import type { LabStudy } from '@shoal/protocol';
import { useMemo, useRef } from 'preact/hooks';
import { download, scheme, token as colour, useWidth } from '../environment.ts';
import { FigureTable } from '../FigureTable.tsx';
import { formatBytes, formatFigure, plural } from '../format.ts';
import { Whose } from './Comparison.tsx';
import { downloadPng } from './png.ts';
import { pictureLayout, pictureOf, pointAt, titleOf } from './picture.ts';
import { cellsOf, csvOf } from './study.ts';

const RAMP_STEPS = 5;

/** One gate's picture, with its tokens and layers in words and its files. */
export function StudyCard({ study, id }: { study: LabStudy; id: string }) {
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box);
  const at = useSignal(0);
  const point = useSignal<string | null>(null);
  const layout = pictureLayout(width, study.layers.length, study.tokens.length, study.experts);
  const shades = scheme.value;
  const svg = useMemo(() => pictureOf(study, layout, colours()), [study, width, shades]);
  const name = `shoal-${study.gate}`;
  const isSlots = study.layers.some(({ combine }) => combine);

  return (
    <section class={study.isOwn ? 'card study' : 'card study other'} aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>
        {study.title} <Whose isOwn={study.isOwn} />
      </h2>
      <p class="muted">
        {study.isOwn
          ? 'What the model computes with.'
          : 'The model was not trained with this gate: its answers with it say nothing about the gate’s worth.'}{' '}
        Tokens across, experts down; the stronger the colour, the larger the weight
        {isSlots ? ' of an expert’s slots' : ''}; crosses had no room. Bars are each expert’s load.
      </p>
      <div ref={box} class="picture" role="group" aria-label={`Picture of ${study.title}`} tabIndex={0}>
        {width > 0 && (
          <img
            src={`data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`}
            width={layout.width}
            height={layout.height}
            alt={`${titleOf(study)}. ${plural(study.tokens.length, 'token')} in ${plural(study.layers.length, 'layer')} of ${plural(study.experts, 'expert')}; the tables below have the figures.`}
            onPointerMove={(event) => {
              const rect = event.currentTarget.getBoundingClientRect();
              const found = pointAt(layout, study.layers.length, event.clientX - rect.left, event.clientY - rect.top);
              point.value = found && describePoint(study, found);
            }}
            onPointerLeave={() => (point.value = null)}
          />
        )}
      </div>
      <p class="readout">{point.value ?? <span class="muted">Point at a cell to see its token and weight.</span>}</p>
      <p class="actions">
        <button type="button" onClick={() => download(`${name}.svg`, 'image/svg+xml', svg)}>
          Save as SVG
        </button>
        <button type="button" onClick={() => void downloadPng(`${name}.png`, svg, layout)}>
          Save as PNG
        </button>
        <button type="button" onClick={() => download(`${name}.csv`, 'text/csv;charset=utf-8', csvOf(study))}>
          Save as CSV
        </button>
      </p>
      <details>
        <summary>One token in words</summary>
        <label for={`${id}-token`}>Token</label>
        <input
          id={`${id}-token`}
          type="range"
          min={0}
          max={study.tokens.length - 1}
          value={at.value}
          aria-valuetext={`${at.value + 1} of ${study.tokens.length}, “${study.tokens[at.value]!.text}”`}
          onInput={(event) => (at.value = Number(event.currentTarget.value))}
        />
        <TokenTable study={study} token={at.value} />
      </details>
      <details>
        <summary>Layers as a table</summary>
        <LayerTable study={study} />
      </details>
    </section>
  );
}

function colours() {
  return {
    surface: colour('surface'),
    text: colour('text'),
    muted: colour('muted'),
    trouble: colour('trouble'),
    bar: colour('field'),
    ramp: Array.from({ length: RAMP_STEPS + 1 }, (_, i) => colour(`ramp-${i}`)),
  };
}

function describePoint(study: LabStudy, at: { index: number; token: number; expert: number }): string {
  const layer = study.layers[at.index]!;
  const weight = cellsOf(layer, at.token).find(({ expert }) => expert === at.expert)?.weight;
  const isDropped = layer.dropped?.some(([token, expert]) => token === at.token && expert === at.expert);
  const what = isDropped ? 'had no room' : weight === undefined ? 'not chosen' : `weight ${weight}`;
  return `Layer ${layer.layer}, token ${at.token + 1} “${study.tokens[at.token]!.text}”, expert ${at.expert}: ${what}`;
}

/** What a token got in each layer: its eight largest weights. */
function TokenTable({ study, token }: { study: LabStudy; token: number }) {
  return (
    <div class="table-scroll" role="group" aria-label="Experts of one token" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Layer</th>
            <th scope="col">
              Experts of token {token + 1} “{study.tokens[token]!.text}”, with weights
            </th>
          </tr>
        </thead>
        <tbody>
          {study.layers.map((layer) => {
            const best = cellsOf(layer, token).sort((a, b) => b.weight - a.weight);
            const dropped = (layer.dropped ?? []).filter(([row]) => row === token).map(([, expert]) => expert);
            return (
              <tr>
                <th scope="row">{layer.layer}</th>
                <td>
                  {best.length === 0 && 'none'}
                  {best
                    .slice(0, 8)
                    .map(({ expert, weight }) => `${expert} (${weight})`)
                    .join(', ')}
                  {best.length > 8 && ` and ${best.length - 8} more`}
                  {dropped.length > 0 && `; no room at ${dropped.join(', ')}`}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

const HEADS = [
  'Layer',
  'Entropy of load, bits',
  'Busiest expert',
  'Idle experts',
  'Dropped',
  'Without expert',
  'Tabs a token',
  'Bytes a token',
];

function LayerTable({ study }: { study: LabStudy }) {
  return (
    <FigureTable label="Figures of each layer" heads={HEADS}>
      {study.layers.map(({ layer, figures }) => {
        const most = Math.max(...figures.load);
        return (
          <tr>
            <th scope="row">{layer}</th>
            <td class="numeric">
              {formatFigure(figures.loadBits)} of {formatFigure(Math.log2(study.experts))}
            </td>
            <td class="numeric">
              {figures.load.indexOf(most)} ({plural(most, 'token')})
            </td>
            <td class="numeric">{figures.load.filter((count) => count === 0).length}</td>
            <td class="numeric">{figures.dropped}</td>
            <td class="numeric">{figures.withoutExpert}</td>
            <td class="numeric">{formatFigure(figures.tabsPerToken)}</td>
            <td class="numeric">{formatBytes(figures.bytesPerToken)}</td>
          </tr>
        );
      })}
    </FigureTable>
  );
}
