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
}

/** A small line chart of the last seconds, newest on the right, with gaps for missing values. */
export function Chart({ values, unit, label, heightPx }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const width = useWidth(box);
  const nothing = values.every((value) => value === null);
  const colours = scheme.value;
  const data = useMemo<uPlot.AlignedData>(
    () => [values.map((_, i) => i + 1 - values.length), [...values]] as uPlot.AlignedData,
    [values],
  );

  useEffect(() => {
    if (!box.current || width === 0) return;
    const made = new uPlot(options(width, heightPx), data, box.current);
    plot.current = made;
    return () => {
      plot.current = null;
      made.destroy();
    };
    // Data changes go through setData below, since a new plot each second would be wasteful.
  }, [width, heightPx, colours]);
  useEffect(() => plot.current?.setData(data), [data]);

  return (
    <div class="chart" role="img" aria-label={`${label}. ${describeSeries(values, unit)}`}>
      <span class="chart-unit" aria-hidden="true">
        {unit}
      </span>
      <div ref={box} style={{ height: `${heightPx}px` }} />
      {nothing && <span class="chart-nothing">no data in the last {values.length} s</span>}
    </div>
  );
}

function describeSeries(values: readonly (number | null)[], unit: string): string {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return `No data in the last ${values.length} s.`;
  const last = values.at(-1);
  const now = last === null || last === undefined ? 'none' : `${formatFigure(last)} ${unit}`;
  const least = formatFigure(Math.min(...known));
  const most = formatFigure(Math.max(...known));
  return `Now ${now}; between ${least} and ${most} ${unit} in the last ${values.length} s.`;
}

function options(width: number, height: number): uPlot.Options {
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
    scales: { x: { time: false }, y: { range: (_plot, _min, max) => [0, max ? max * 1.1 : 1] } },
    axes: [
      {
        ...axis,
        size: 22,
        grid: { show: false },
        values: (_plot, at) => at.map((v) => (v === 0 ? 'now' : `−${formatNumber(-v)} s`)),
      },
      { ...axis, size: 44, space: 28, values: (_plot, at) => at.map((v) => formatCount(v)) },
    ],
    series: [
      {},
      { stroke: token('accent'), width: 2, fill: token('accent-wash'), points: { size: 4, fill: token('accent') } },
    ],
  };
}
