import type { Signal } from '@shoal/protocol';
import { connectDonor, type DonorConnection } from '@shoal/transport';
import type { TabAnswer, TabCommand } from './messages.ts';

declare global {
  interface Window {
    /** Provided by the benchmark. */
    toCoordinator(signal: Signal): void;
    connection: DonorConnection;
    startTab(command: TabCommand & { type: 'start' }, lapConnections: number): Promise<TabAnswer>;
    askTab(command: TabCommand): Promise<TabAnswer>;
  }
}

const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });

/** Sends one command at a time. */
function askTab(command: TabCommand, transfer: Transferable[] = []): Promise<TabAnswer> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<TabAnswer>) => resolve(data);
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(command, transfer);
  });
}

/** Like the donor's page: the lap channel goes to the worker in the task that created it. */
window.startTab = (command, lapConnections) =>
  new Promise((resolve, reject) => {
    window.connection = connectDonor({
      iceServers: [],
      lapConnections,
      onSignal: (signal) => window.toCoordinator(signal),
      onLapChannel: (channel, isFurther) => {
        const transfer = [channel as unknown as Transferable];
        if (isFurther) return worker.postMessage({ type: 'channel', channel }, transfer);
        askTab({ ...command, channel }, transfer).then(resolve, reject);
      },
    });
  });
window.askTab = askTab;
