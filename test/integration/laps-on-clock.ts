import { vi } from 'vitest';
import type { Core } from '../../coordinator/src/index.ts';

const LAP_MS = 20;

/**
 * Laps take 20 ms of vitest's clock, on which nothing else takes time, so that what drafts are worth doesn't depend on this
 * machine. The MTP module's calls are no laps here.
 */
export function putLapsOnClock({ dispatcher, config }: Core): void {
  const batch = dispatcher.batch.bind(dispatcher);
  vi.spyOn(dispatcher, 'batch').mockImplementation((options) => {
    const experts = batch(options);
    const dispatch: typeof experts.dispatch = (call) => {
      const lap = experts.dispatch(call);
      if (call.layer >= config.numHiddenLayers) return lap;
      return { combine: () => lap.combine().finally(() => vi.advanceTimersByTime(LAP_MS)) };
    };
    return { ...experts, dispatch };
  });
}
