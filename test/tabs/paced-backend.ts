import type { ExpertBackend } from '@shoal/kernels';
import type { Alarm } from './alarm.ts';

/** The simulated speed of a tab's processor. */
export interface Pace {
  /** Fixed time of every lap for submission and reading back, in ms. */
  lapOverheadMs: number;
  /** Assignments a second; Infinity: as fast as this machine is. */
  assignmentsPerSecond: number;
}

/** The actual time that a backend has worked, regardless of the pace. */
export interface ComputeMeter {
  busyMs: number;
  laps: number;
  rows: number;
}

/** Delays the backend's own results to match a processor of this pace that runs one lap after another. */
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
