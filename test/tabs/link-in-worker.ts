import type { Signal } from '@shoal/protocol';
import { connectDonor, type DonorConnection } from '@shoal/transport';

/** What a donor's page does with each lap channel: off to the worker, in the task that made it. */
export function linkInWorker(
  worker: Worker,
  lapConnections: number,
  onSignal: (signal: Signal) => void,
): DonorConnection {
  return connectDonor({
    iceServers: [],
    lapConnections,
    onSignal,
    onLapChannel: (channel, isFurther) =>
      worker.postMessage({ channel, isFurther }, [channel as unknown as Transferable]),
  });
}
