import type { ExpertBackend } from '@shoal/kernels';
import type { Alarm } from './alarm.ts';

/** How fast a tab's processor seems. */
export interface Pace {
  /** Of every lap, whatever its size: submission and reading back, ms. */
  lapOverheadMs: number;
  /** (row, expert) pairs a second; Infinity: as fast as this machine is. */
  assignmentsPerSecond: number;
}

/** Time that a backend has worked, as the machine took and not as the pace has it. */
export interface ComputeMeter {
  busyMs: number;
  laps: number;
  rows: number;
}

/** The backend's own results, not before a processor of this pace would have them: one lap after another. */
export function pacedBackend(
  backend: ExpertBackend,
  alarm: Pick<Alarm, 'at'>,
  pace: () => Pace,
  meter: ComputeMeter,
): ExpertBackend {
  let freeMs = 0;
  const run: ExpertBackend['run'] = async (lap) => {
    const startedMs = performance.now();
    const output = await backend.run(lap);
    meter.busyMs += output.computeUs / 1000;
    meter.laps++;
    meter.rows += lap.numRows;
    const { lapOverheadMs, assignmentsPerSecond } = pace();
    if (lapOverheadMs === 0 && assignmentsPerSecond === Number.POSITIVE_INFINITY) return output;
    freeMs = Math.max(startedMs, freeMs) + lapOverheadMs + (1000 * lap.experts.length) / assignmentsPerSecond;
    await new Promise<void>((resolve) => alarm.at(freeMs, resolve));
    return { ...output, computeUs: 1000 * (performance.now() - startedMs) };
  };
  return new Proxy(backend, {
    get: (target, name) => {
      if (name === 'run') return run;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
