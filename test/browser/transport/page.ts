import type { Signal } from '@shoal/protocol';
import { checkFixtures } from '@shoal/protocol/testing';
import type { DonorConnection } from '@shoal/transport';
import { linkInWorker } from '../../tabs/link-in-worker.ts';

declare global {
  interface Window {
    /** Put there by the test. */
    toCoordinator(signal: Signal): void;
    linkClosed(reason: string): void;
    connection: DonorConnection;
    checkFixtures: typeof checkFixtures;
    connect(lapConnections?: number): Promise<void>;
  }
}

let worker: Worker | undefined;

/** Each call makes a new connection in a new worker; of the one before nothing more is heard. */
window.connect = async (lapConnections = 1) => {
  if (worker) worker.onmessage = null;
  worker?.terminate();
  worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  // On a busy machine a worker's modules take longer to load than three heartbeats.
  await new Promise((resolve) => worker!.addEventListener('message', resolve, { once: true }));
  worker.onmessage = ({ data }: MessageEvent<{ closed: string }>) => window.linkClosed(data.closed);
  window.connection = linkInWorker(worker, lapConnections, (signal) => window.toCoordinator(signal));
};
window.checkFixtures = checkFixtures;
