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
    connect(lapConnections?: number): void;
  }
}

window.connect = (lapConnections = 1) => {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  worker.onmessage = ({ data }: MessageEvent<{ closed: string }>) => window.linkClosed(data.closed);
  window.connection = linkInWorker(worker, lapConnections, (signal) => window.toCoordinator(signal));
};
window.checkFixtures = checkFixtures;
