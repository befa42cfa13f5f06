import type { DataChannelLike } from '@shoal/transport';

/** Page → worker. */
type FromPage =
  | { type: 'message'; data: ArrayBuffer }
  | { type: 'sent'; bytes: number; bufferedAmount: number }
  | { type: 'state'; readyState: DataChannelLike['readyState']; event: 'open' | 'close' | 'error' }
  | { type: 'low'; bufferedAmount: number };
/** Worker → page. */
type FromWorker = { type: 'send'; data: ArrayBuffer } | { type: 'close' } | { type: 'threshold'; bytes: number };

/**
 * Relays a channel for browsers that cannot transfer it to a worker: the page keeps it and passes messages on to `port`, whose
 * other end becomes a RelayedChannel in the worker.
 */
export function relayChannel(channel: RTCDataChannel, port: MessagePort): void {
  channel.binaryType = 'arraybuffer';
  const post = (message: FromPage, transfer: Transferable[] = []) => port.postMessage(message, transfer);
  const postState = (event: 'open' | 'close' | 'error') =>
    post({ type: 'state', readyState: channel.readyState, event });
  channel.addEventListener('open', () => postState('open'));
  channel.addEventListener('close', () => postState('close'));
  channel.addEventListener('error', () => postState('error'));
  channel.addEventListener('bufferedamountlow', () => post({ type: 'low', bufferedAmount: channel.bufferedAmount }));
  channel.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
    if (data instanceof ArrayBuffer) post({ type: 'message', data }, [data]);
  });
  port.onmessage = ({ data: message }: MessageEvent<FromWorker>) => {
    if (message.type === 'close') channel.close();
    else if (message.type === 'threshold') channel.bufferedAmountLowThreshold = message.bytes;
    else if (channel.readyState === 'open') {
      channel.send(new Uint8Array(message.data));
      post({ type: 'sent', bytes: message.data.byteLength, bufferedAmount: channel.bufferedAmount });
    }
  };
  if (channel.readyState === 'open') postState('open');
}

type Listener = (event: never) => void;

/** The worker's end of `relayChannel`. Bytes on their way to the page count as buffered. */
export class RelayedChannel implements DataChannelLike {
  binaryType = 'arraybuffer';
  readonly #port: MessagePort;
  readonly #listeners = new Map<string, Set<Listener>>();
  #readyState: DataChannelLike['readyState'] = 'connecting';
  #onTheWayBytes = 0;
  #pageBufferedBytes = 0;

  constructor(port: MessagePort) {
    this.#port = port;
    port.onmessage = ({ data }: MessageEvent<FromPage>) => this.#onPage(data);
  }

  get readyState(): DataChannelLike['readyState'] {
    return this.#readyState;
  }

  get bufferedAmount(): number {
    return this.#onTheWayBytes + this.#pageBufferedBytes;
  }

  #lowThresholdBytes = 0;
  get bufferedAmountLowThreshold(): number {
    return this.#lowThresholdBytes;
  }
  set bufferedAmountLowThreshold(bytes: number) {
    this.#lowThresholdBytes = bytes;
    this.#post({ type: 'threshold', bytes });
  }

  send(data: Uint8Array<ArrayBuffer>): void {
    if (this.#readyState !== 'open') throw new Error(`The relayed channel is ${this.#readyState}`);
    const copy = data.slice().buffer;
    this.#onTheWayBytes += copy.byteLength;
    this.#post({ type: 'send', data: copy }, [copy]);
  }

  close(): void {
    if (this.#readyState === 'closed') return;
    this.#readyState = 'closed';
    this.#post({ type: 'close' });
  }

  addEventListener: DataChannelLike['addEventListener'] = (type, listener) => {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener as Listener));
  };

  removeEventListener: DataChannelLike['removeEventListener'] = (type, listener) => {
    this.#listeners.get(type)?.delete(listener as Listener);
  };

  #post(message: FromWorker, transfer: Transferable[] = []): void {
    this.#port.postMessage(message, transfer);
  }

  #onPage(message: FromPage): void {
    switch (message.type) {
      case 'message':
        return this.#emit('message', { data: message.data });
      case 'sent':
        this.#onTheWayBytes -= message.bytes;
        this.#pageBufferedBytes = message.bufferedAmount;
        // The page's own event only fires if its buffer had risen above the threshold.
        if (this.bufferedAmount <= this.#lowThresholdBytes) this.#emit('bufferedamountlow', {});
        return;
      case 'low':
        this.#pageBufferedBytes = message.bufferedAmount;
        return this.#emit('bufferedamountlow', {});
      case 'state':
        this.#readyState = message.readyState;
        return this.#emit(message.event, {});
    }
    message satisfies never;
  }

  #emit(type: string, event: unknown): void {
    for (const listener of this.#listeners.get(type) ?? []) listener(event as never);
  }
}
