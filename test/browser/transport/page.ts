import { connectDonor, type DonorConnection } from '@shoal/transport';
import { checkFixtures, type Signal } from '@shoal/protocol';

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

/** What a donor's page does with each lap channel: off to a worker, in the task that made it. */
window.connect = (lapConnections = 1) => {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  worker.onmessage = ({ data }: MessageEvent<{ closed: string }>) => window.linkClosed(data.closed);
  window.connection = connectDonor({
    iceServers: [],
    lapConnections,
    onSignal: (signal) => window.toCoordinator(signal),
    onLapChannel: (channel, isFurther) =>
      worker.postMessage({ channel, isFurther }, [channel as unknown as Transferable]),
  });
};
window.checkFixtures = checkFixtures;
