import { decodeShardFrame, encodeShardFrame, MAX_SHARD_FRAME_BYTES, PART_BYTES, type TabFault } from '@shoal/protocol';
import { type DataChannelLike, FramedChannel, type Link } from '@shoal/transport';
import { verify, type ShardRequest } from '../fetch-shard.ts';
import type { UploadLine } from './upload-line.ts';

/** From the coordinator's word to an open channel, and between two parts of a shard. A giver at work sends nothing for a while. */
export const OPEN_TIMEOUT_MS = 10_000;
export const STALL_MS = 5_000;
const HEARTBEAT_MS = 5_000;
/** Shards that another tab may ask for before it has got them. An honest one asks for four. */
const MAX_ASKED = 16;

export interface TabPeerOptions {
  /** A shard that this tab has, or undefined. */
  bytesOf: (sha256: string) => Promise<Uint8Array | undefined>;
  line: UploadLine;
  onGiven: (bytes: number) => void;
  onClosed: () => void;
}

/** Why a shard did not come. */
export class TabFaultError extends Error {
  readonly fault: TabFault;
  constructor(fault: TabFault, message: string) {
    super(message);
    this.name = 'TabFaultError';
    this.fault = fault;
  }
}

interface Taking {
  request: ShardRequest;
  bytes: Uint8Array;
  /** By part. */
  arrived: Set<number>;
  onPart: () => void;
  end: (error?: TabFaultError) => void;
}

/** The link to another tab: gives it the shards that it asks for, and takes those that this tab asks for. */
export class TabPeer {
  readonly #options: TabPeerOptions;
  readonly #link: Link;
  readonly #opened: Promise<void>;
  readonly #taking = new Map<number, Taking>();
  /** What it asked for and has not got. */
  readonly #giving = new Set<number>();
  #nextId = 0;

  constructor(channel: DataChannelLike, options: TabPeerOptions) {
    this.#options = options;
    this.#link = new FramedChannel(channel, { heartbeatMs: HEARTBEAT_MS, maxFrameBytes: MAX_SHARD_FRAME_BYTES });
    this.#link.onFrame = (frame) => this.#onFrame(frame);
    this.#link.onClose = () => {
      this.#giving.clear();
      for (const taking of this.#taking.values()) taking.end(new TabFaultError('stalled', 'The other tab is gone'));
      options.onClosed();
    };
    this.#opened = opened(channel);
    this.#opened.catch(() => this.close());
  }

  close(): void {
    this.#link.close('goodbye');
  }

  /** Takes one shard. Rejects with a TabFaultError, or a ShardError of wrong bytes. */
  async take(request: ShardRequest): Promise<Uint8Array> {
    await this.#opened;
    request.signal.throwIfAborted();
    const id = this.#nextId++;
    const bytes = new Uint8Array(request.bytes);
    const whole = new Promise<void>((resolve, reject) => {
      let timer: ReturnType<typeof setTimeout>;
      const onPart = (): void => {
        clearTimeout(timer);
        timer = setTimeout(() => end(new TabFaultError('stalled', 'The other tab sends nothing')), STALL_MS);
      };
      const onAbort = (): void => end(new TabFaultError('stalled', 'No longer wanted'));
      const end = (error?: TabFaultError): void => {
        clearTimeout(timer);
        request.signal.removeEventListener('abort', onAbort);
        if (!this.#taking.delete(id)) return;
        if (error) reject(error);
        else resolve();
      };
      request.signal.addEventListener('abort', onAbort);
      this.#taking.set(id, { request, bytes, arrived: new Set(), onPart, end });
      onPart();
      this.#send(encodeShardFrame({ kind: 'ask', id, sha256: request.sha256 }));
    });
    try {
      await whole;
    } catch (error) {
      this.#send(encodeShardFrame({ kind: 'stop', id }));
      throw error;
    }
    await verify(request, bytes);
    return bytes;
  }

  /** Throws a FrameError, which ends the link. */
  #onFrame(frame: Uint8Array): void {
    const message = decodeShardFrame(frame);
    const { id } = message;
    switch (message.kind) {
      case 'ask':
        if (this.#giving.size >= MAX_ASKED || this.#giving.has(id)) return this.#link.close('protocol');
        this.#giving.add(id);
        return void this.#give(id, message.sha256);
      case 'stop':
        return void this.#giving.delete(id);
      case 'refuse':
        return this.#taking.get(id)?.end(new TabFaultError('lacking', 'The other tab does not have the shard'));
      case 'part':
        return this.#takePart(id, message.index, message.bytes);
    }
    message satisfies never;
  }

  #takePart(id: number, index: number, part: Uint8Array): void {
    const taking = this.#taking.get(id);
    // Of one that was given up a moment ago.
    if (!taking) return;
    const { bytes, arrived, request } = taking;
    const at = index * PART_BYTES;
    if (arrived.has(index) || part.byteLength !== Math.min(PART_BYTES, bytes.byteLength - at)) {
      return taking.end(new TabFaultError('wrong-bytes', 'The other tab sent a part that is none of the shard'));
    }
    bytes.set(part, at);
    arrived.add(index);
    request.onBytes(part.byteLength);
    if (arrived.size * PART_BYTES >= bytes.byteLength) taking.end();
    else taking.onPart();
  }

  /** Sends a shard in parts, as the line allows. Never rejects. */
  async #give(id: number, sha256: string): Promise<void> {
    const { bytesOf, line, onGiven } = this.#options;
    try {
      const bytes = await bytesOf(sha256).catch(() => undefined);
      if (!bytes) return this.#send(encodeShardFrame({ kind: 'refuse', id }));
      for (let index = 0; index * PART_BYTES < bytes.byteLength; index++) {
        const part = bytes.subarray(index * PART_BYTES, (index + 1) * PART_BYTES);
        await line.pass(part.byteLength);
        if (!this.#giving.has(id)) return;
        await this.#link.send(encodeShardFrame({ kind: 'part', id, index, bytes: part }));
      }
      onGiven(bytes.byteLength);
    } catch {
      // The link has closed.
    } finally {
      this.#giving.delete(id);
    }
  }

  #send(frame: Uint8Array): void {
    this.#link.send(frame).catch(() => {});
  }
}

function opened(channel: DataChannelLike): Promise<void> {
  if (channel.readyState === 'open') return Promise.resolve();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => settle(), OPEN_TIMEOUT_MS);
    const settle = (): void => {
      clearTimeout(timer);
      for (const event of ['open', 'close', 'error'] as const) channel.removeEventListener(event, settle);
      if (channel.readyState === 'open') resolve();
      else reject(new TabFaultError('unreachable', 'No connection to the other tab could be opened'));
    };
    for (const event of ['open', 'close', 'error'] as const) channel.addEventListener(event, settle);
  });
}
