import { parseControl, type ControlMessage, type Signal } from '@shoal/protocol';
import type SimplePeer from 'simple-peer';
import { CONTROL_CHANNEL_ID, LAP_CHANNEL_INIT, LAP_CHANNEL_LABEL } from './channel.ts';
import { PathWatch } from './path-watch.ts';
import { Rate } from './rate.ts';

export type RtcClasses = NonNullable<SimplePeer.Options['wrtc']>;
export type SimplePeerClass = new (options: SimplePeer.Options) => SimplePeer.Instance;

export interface ConnectionOptions {
  iceServers: readonly RTCIceServer[];
  initiator: boolean;
  /** Must deliver the signal to the other side's `signal`. */
  onSignal: (signal: Signal) => void;
}

/** Control messages that the other side may send. Our page sends one in all, its goodbye. */
const CONTROL_BURST = 10;
const CONTROL_PER_MS = 1 / 1000;

/** How a connection ended. `protocol`: the other side sent an invalid control message, too many, or announced a channel. */
export type ConnectionEnd = { reason: 'goodbye' | 'closed' | 'failed' | 'protocol'; error?: Error };

/**
 * simple-peer with a second channel for laps; its own channel carries control messages. Both are negotiated, since simple-peer
 * mistakes every announced channel for its own: nothing is announced, and an announcement ends the connection.
 */
export class Connection {
  readonly lapChannel: RTCDataChannel;
  readonly path: PathWatch;
  onControl: ((message: ControlMessage) => void) | undefined;
  /** The connection is up. The lap channel opens at about the same time. */
  onOpen: (() => void) | undefined;
  onEnd: ((end: ConnectionEnd) => void) | undefined;
  #peer: SimplePeer.Instance;
  #ended: ConnectionEnd | undefined;
  #controlRate = new Rate(CONTROL_BURST, CONTROL_PER_MS, performance.now());

  constructor(SimplePeer: SimplePeerClass, options: ConnectionOptions, wrtc?: RtcClasses) {
    this.#peer = new SimplePeer({
      initiator: options.initiator,
      // Keeps message boundaries; a byte stream would be split and joined at will.
      objectMode: true,
      channelName: 'control',
      channelConfig: { negotiated: true, id: CONTROL_CHANNEL_ID },
      config: { iceServers: [...options.iceServers] },
      ...(wrtc && { wrtc }),
    });
    // Registered first: if no RTCPeerConnection can be made, simple-peer emits its error a moment later.
    this.#peer.on('error', (error) => this.#end({ reason: 'failed', error }));
    this.#peer.on('close', () => this.#end({ reason: 'closed' }));
    const pc = peerConnectionOf(this.#peer);
    this.path = new PathWatch(pc, options.iceServers);
    this.lapChannel = pc.createDataChannel(LAP_CHANNEL_LABEL, LAP_CHANNEL_INIT);
    // An announced channel is never legitimate here, and would take memory for as long as it stays open.
    pc.addEventListener('datachannel', () => this.#end({ reason: 'protocol' }));
    this.#peer.on('signal', (data) => {
      const signal = toSignal(data);
      if (signal) options.onSignal(signal);
    });
    this.#peer.on('connect', () => {
      this.path.close();
      this.onOpen?.();
    });
    this.#peer.on('data', (data: unknown) => this.#receive(data));
  }

  /** Takes a signal of the other side. One that simple-peer rejects ends the connection. Never throws. */
  signal(signal: Signal): void {
    if (this.#ended) return;
    this.path.heard(signal);
    try {
      this.#peer.signal(signal as SimplePeer.SignalData);
    } catch (error) {
      this.#end({ reason: 'failed', error: error as Error });
    }
  }

  /** Returns false, without queueing the message, if the control channel is not open. */
  sendControl(message: ControlMessage): boolean {
    if (!this.#peer.connected) return false;
    try {
      this.#peer.send(JSON.stringify(message));
      return true;
    } catch {
      return false;
    }
  }

  close(): void {
    this.#end({ reason: 'closed' });
  }

  #receive(data: unknown): void {
    if (this.#ended) return;
    const message = this.#controlRate.take(performance.now()) ? parseControl(data) : undefined;
    if (message === undefined) {
      this.#end({ reason: 'protocol' });
      return;
    }
    this.onControl?.(message);
    if (message.control === 'goodbye') this.#end({ reason: 'goodbye' });
  }

  #end(end: ConnectionEnd): void {
    if (this.#ended) return;
    this.#ended = end;
    this.path.close();
    this.onEnd?.(end);
    this.#peer.destroy();
  }
}

/** simple-peer cannot create further channels itself; `_pc` has held its RTCPeerConnection since the first version. */
function peerConnectionOf(peer: SimplePeer.Instance): RTCPeerConnection {
  const { _pc: pc } = peer as unknown as { _pc: RTCPeerConnection | null };
  if (!pc)
    throw new Error('Could not create an RTCPeerConnection: check the ICE servers, and that WebRTC is not blocked.');
  return pc;
}

/** Drops simple-peer's other signals (tracks, renegotiation), which a data-only connection does not need. */
function toSignal(data: SimplePeer.SignalData): Signal | undefined {
  if (data.type === 'candidate') {
    const { candidate, sdpMid, sdpMLineIndex } = data.candidate;
    return {
      type: 'candidate',
      candidate: { candidate, sdpMid: sdpMid ?? null, sdpMLineIndex: sdpMLineIndex ?? null },
    };
  }
  if ((data.type === 'offer' || data.type === 'answer') && data.sdp) return { type: data.type, sdp: data.sdp };
  return undefined;
}
