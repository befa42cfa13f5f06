import { relayChannel } from '@shoal/peer';
import { DEVICE_WORD, type Device } from './device.ts';
import type { FromWorker, ToWorker } from './messages.ts';
import { configureProblem, troubleProblem, type Problem } from './problems.ts';

/** A device takes seconds at most; if the driver hangs, the donor should not face a frozen progress bar. */
const CONFIGURE_TIMEOUT_MS = 60_000;

/** Messages of the worker, other than its answers to `configure`. */
export type WorkerNews = Exclude<FromWorker, { type: 'configured' | 'configure-failed' }>;

interface DeviceWorkerOptions {
  createWorker: () => Worker;
  onMessage: (message: WorkerNews) => void;
  /** The worker did not start or threw an error. */
  onFailure: (problem: Problem) => void;
}

/** The worker that owns the device, seen from the page. It is started by the first message and after `terminate` by the next one. */
export class DeviceWorker {
  readonly #options: DeviceWorkerOptions;
  #worker: Worker | undefined;
  #configuring: { resolve: () => void; reject: (problem: Problem) => void } | undefined;

  constructor(options: DeviceWorkerOptions) {
    this.#options = options;
  }

  get isRunning(): boolean {
    return this.#worker !== undefined;
  }

  post(message: ToWorker, transfer: Transferable[] = []): void {
    this.#worker ??= this.#start();
    this.#worker.postMessage(message, transfer);
  }

  /** Prepares the device for the coordinator's model. Rejects with a Problem. */
  async configure(device: Device, terms: Omit<Extract<ToWorker, { type: 'configure' }>, 'type'>): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const onTimeout = () => reject(configureProblem('device-lost', `The ${DEVICE_WORD[device]} did not respond`));
        timer = setTimeout(onTimeout, CONFIGURE_TIMEOUT_MS);
        this.#configuring = { resolve, reject };
        this.post({ type: 'configure', ...terms });
      });
    } finally {
      clearTimeout(timer);
      this.#configuring = undefined;
    }
  }

  /** Transfers a lap channel to the worker, or relays it where the browser can't; returns whether it is relayed. */
  handOver(channel: RTCDataChannel, isFurther: boolean, coordinator: string): boolean {
    try {
      this.post({ type: 'channel', channel, isFurther, coordinator }, [channel as unknown as Transferable]);
      return false;
    } catch {
      const { port1, port2 } = new MessageChannel();
      relayChannel(channel, port1);
      this.post({ type: 'relay', port: port2, isFurther, coordinator }, [port2]);
      return true;
    }
  }

  /** Ends the link to a coordinator, if there is one. */
  detach(coordinator: string): void {
    if (this.isRunning) this.post({ type: 'detach', coordinator });
  }

  /** As `handOver`, with a channel to another tab. */
  handOverTab(tab: string, channel: RTCDataChannel): void {
    try {
      this.post({ type: 'tab-channel', tab, channel }, [channel as unknown as Transferable]);
    } catch {
      const { port1, port2 } = new MessageChannel();
      relayChannel(channel, port1);
      this.post({ type: 'tab-relay', tab, port: port2 }, [port2]);
    }
  }

  /** Frees the device's memory; the weights stay in the browser's storage. */
  terminate(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  #start(): Worker {
    const worker = this.#options.createWorker();
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
    worker.onerror = ({ message: text }) => {
      const message = text || 'The page’s worker could not be started';
      this.#options.onFailure(troubleProblem({ code: 'internal', message }));
    };
    return worker;
  }

  #receive(message: FromWorker): void {
    if (message.type === 'configured') this.#configuring?.resolve();
    else if (message.type === 'configure-failed') {
      this.#configuring?.reject(configureProblem(message.reason, message.message));
    } else this.#options.onMessage(message);
  }
}
