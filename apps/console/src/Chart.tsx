import { useEffect, useMemo, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { scheme, token, useWidth } from './environment.ts';
import { formatCount, formatFigure, formatNumber } from './format.ts';

interface ChartProps {
  /** One value per second, newest last; null if nothing was measured. */
  values: readonly (number | null)[];
  /** Unit of the axis, e.g. `tokens/s`. */
  unit: string;
  /** For screen readers; the series' figures are appended. */
  label: string;
  heightPx: number;
  /** Where a value is not one of the last seconds: start of the first, seconds of each, and what all of them are. */
  times?: { fromMs: number; stepS: number; name: string };
  /** Whether the values are whole numbers of things, so that their axis has no halves. */
  isCount?: boolean;
}

/** A small line chart of the last seconds, newest on the right, with gaps for missing values. */
export function Chart({ values, unit, label, heightPx, times, isCount = false }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const width = useWidth(box);
  const nothing = values.every((value) => value === null);
  const colours = scheme.value;
  const data = useMemo<uPlot.AlignedData>(
    () =>
      [
        values.map((_, i) => (times ? times.fromMs / 1_000 + i * times.stepS : i + 1 - values.length)),
        [...values],
      ] as uPlot.AlignedData,
    [values, times?.fromMs, times?.stepS],
  );
  const span = times?.name ?? `last ${values.length} s`;

  useEffect(() => {
    if (!box.current || width === 0) return;
    const made = new uPlot(options(width, heightPx, times?.stepS, isCount), data, box.current);
    plot.current = made;
    return () => {
      plot.current = null;
      made.destroy();
    };
    // Data changes go through setData below, since a new plot each second would be wasteful.
  }, [width, heightPx, colours, times?.stepS]);
  useEffect(() => plot.current?.setData(data), [data]);

  return (
    <div class="chart" role="img" aria-label={`${label}. ${describeSeries(values, unit, span)}`}>
      <span class="chart-unit" aria-hidden="true">
        {unit}
      </span>
      <div ref={box} style={{ height: `${heightPx}px` }} />
      {nothing && <span class="chart-nothing">no data in the {span}</span>}
    </div>
  );
}

function describeSeries(values: readonly (number | null)[], unit: string, span: string): string {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return `No data in the ${span}.`;
  const last = values.at(-1);
  const now = last === null || last === undefined ? 'none' : `${formatFigure(last)} ${unit}`;
  const least = formatFigure(Math.min(...known));
  const most = formatFigure(Math.max(...known));
  return `Now ${now}; between ${least} and ${most} ${unit} in the ${span}.`;
}

/** Local time of an axis: hours for steps of minutes, days for longer ones. */
function timeText(atS: number, stepS: number): string {
  const time = new Date(atS * 1_000);
  return stepS < 3_600
    ? time.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })
    : time.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' });
}

/** Steps of an axis that counts things. */
const WHOLE_STEPS = Array.from({ length: 9 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();

function options(width: number, height: number, stepS: number | undefined, isCount: boolean): uPlot.Options {
  const axis = {
    stroke: token('muted'),
    font: '11px system-ui, sans-serif',
    ticks: { show: false },
    grid: { stroke: token('line'), width: 1 },
  };
  return {
    width,
    height,
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 12, 0, 0],
    scales: { x: { time: stepS !== undefined }, y: { range: (_plot, _min, max) => [0, max ? max * 1.1 : 1] } },
    axes: [
      {
        ...axis,
        size: 22,
        grid: { show: false },
        ...(stepS !== undefined && { space: 70 }),
        values: (_plot, at) =>
          at.map((v) => (stepS === undefined ? (v === 0 ? 'now' : `−${formatNumber(-v)} s`) : timeText(v, stepS))),
      },
      {
        ...axis,
        size: 44,
        space: 28,
        ...(isCount && { incrs: WHOLE_STEPS }),
        values: (_plot, at) => at.map((v) => formatCount(v)),
      },
    ],
    series: [
      {},
      { stroke: token('accent'), width: 2, fill: token('accent-wash'), points: { size: 4, fill: token('accent') } },
    ],
  };
}
