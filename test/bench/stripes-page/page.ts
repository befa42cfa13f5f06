import type { Signal } from '@shoal/protocol';
import { connectDonor, type DonorConnection } from '@shoal/transport';

declare global {
  interface Window {
    /** Put there by the benchmark. */
    toCoordinator(signal: Signal): void;
    connection: DonorConnection;
    openLink(lapConnections: number): void;
  }
}

/** As the donor's page does it: each lap channel goes to the worker in the task that made it. */
window.openLink = (lapConnections) => {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  window.connection = connectDonor({
    iceServers: [],
    lapConnections,
    onSignal: (signal) => window.toCoordinator(signal),
    onLapChannel: (channel, isFurther) =>
      worker.postMessage({ channel, isFurther }, [channel as unknown as Transferable]),
  });
};
