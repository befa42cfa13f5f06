import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { HISTORY_SECONDS } from '../donor-state.ts';
import { formatFigure } from '../format.ts';

const CHART_HEIGHT_PX = 170;
/** The number beside the chart is an average, since that of one second jumps with every answer. */
const SMOOTH_SECONDS = 5;

/** Tokens that the tab helped with, second by second, over the last two minutes. */
export function TokensChart({ history }: { history: readonly number[] }) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot>(undefined);
  const isDark = useDarkScheme();

  useEffect(() => {
    const element = place.current!;
    chart.current = new uPlot(optionsFor(element), dataOf(history), element);
    const observer = new ResizeObserver(() => {
      chart.current?.setSize({ width: element.clientWidth, height: CHART_HEIGHT_PX });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.current?.destroy();
    };
    // Colours are drawn into the chart, so a new scheme needs a new chart.
  }, [isDark]);

  useEffect(() => chart.current?.setData(dataOf(history)), [history]);

  const recent = history.slice(-SMOOTH_SECONDS);
  const latest = recent.reduce((sum, tokens) => sum + tokens, 0) / Math.max(1, recent.length);
  return (
    <figure class="chart">
      <figcaption>
        <strong>{formatFigure(latest)}</strong> tokens per second with your help
        <span>last {HISTORY_SECONDS / 60} minutes</span>
      </figcaption>
      <div
        ref={place}
        role="img"
        aria-label={`Tokens per second with your help: ${formatFigure(latest)} now, ${formatFigure(Math.max(0, ...history))} at most`}
      />
    </figure>
  );
}

/** Seconds relative to now, and tokens; seconds without history are gaps. */
function dataOf(history: readonly number[]): uPlot.AlignedData {
  const seconds = Array.from({ length: HISTORY_SECONDS }, (_, i) => i - HISTORY_SECONDS + 1);
  const missing = HISTORY_SECONDS - history.length;
  return [seconds, seconds.map((_, i) => (i < missing ? null : history[i - missing]!))];
}

function optionsFor(element: HTMLElement): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour('--muted'),
    font: `12px ${style.fontFamily}`,
    ticks: { show: false },
  };
  return {
    width: element.clientWidth,
    height: CHART_HEIGHT_PX,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: false }, y: { range: (_, __, max) => [0, Math.max(5, max * 1.1)] } },
    axes: [
      {
        ...axis,
        grid: { show: false },
        values: (_, splits) => splits.map((s) => (Math.abs(s) < 1 ? 'now' : `${s} s`)),
        space: 70,
        size: 28,
      },
      { ...axis, grid: { stroke: colour('--line'), width: 1 }, size: 48, space: 40 },
    ],
    series: [{}, { stroke: colour('--accent'), fill: `${colour('--accent')}22`, width: 2, points: { show: false } }],
  };
}

function useDarkScheme(): boolean {
  const [query] = useState(() => matchMedia('(prefers-color-scheme: dark)'));
  const [isDark, setDark] = useState(query.matches);
  useEffect(() => {
    const listen = () => setDark(query.matches);
    query.addEventListener('change', listen);
    return () => query.removeEventListener('change', listen);
  }, [query]);
  return isDark;
}
