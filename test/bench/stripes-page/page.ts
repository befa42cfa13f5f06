import type { Signal } from '@shoal/protocol';
import type { DonorConnection } from '@shoal/transport';
import { linkInWorker } from '../../tabs/link-in-worker.ts';

declare global {
  interface Window {
    /** Provided by the benchmark. */
    toCoordinator(signal: Signal): void;
    connection: DonorConnection;
    openLink(lapConnections: number): void;
  }
}

window.openLink = (lapConnections) => {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  window.connection = linkInWorker(worker, lapConnections, (signal) => window.toCoordinator(signal));
};
