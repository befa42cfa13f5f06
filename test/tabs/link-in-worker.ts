import type { Signal } from '@shoal/protocol';
import { connectDonor, type DonorConnection } from '@shoal/transport';

/** Like a donor's page: passes each lap channel to the worker in the task that created it. */
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
