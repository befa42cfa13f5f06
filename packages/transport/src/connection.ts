import { parseControl, type ControlMessage, type Signal } from '@shoal/protocol';
import type SimplePeer from 'simple-peer';
import { CONTROL_CHANNEL_ID, LAP_CHANNEL_INIT, LAP_CHANNEL_LABEL } from './channel.ts';

export type RtcClasses = NonNullable<SimplePeer.Options['wrtc']>;
export type SimplePeerClass = new (options: SimplePeer.Options) => SimplePeer.Instance;

export interface ConnectionOptions {
  iceServers: readonly RTCIceServer[];
  initiator: boolean;
  /** To be passed on to the other side's `signal`. */
  onSignal: (signal: Signal) => void;
}

/** How a connection as a whole ended. `protocol`: the other side said on the control channel what cannot be said there. */
export type ConnectionEnd = { reason: 'goodbye' | 'closed' | 'failed' | 'protocol'; error?: Error };

/**
 * simple-peer with a second channel for laps. Its own channel carries control messages. Both are negotiated: simple-peer takes
 * every announced channel for its own, so nothing is announced, and who announces something is sent away.
 */
export class Connection {
  readonly lapChannel: RTCDataChannel;
  onControl: ((message: ControlMessage) => void) | undefined;
  /** The other side is reached. The lap channel opens at about that time. */
  onOpen: (() => void) | undefined;
  onEnd: ((end: ConnectionEnd) => void) | undefined;
  #peer: SimplePeer.Instance;
  #ended: ConnectionEnd | undefined;

  constructor(SimplePeer: SimplePeerClass, options: ConnectionOptions, wrtc?: RtcClasses) {
    this.#peer = new SimplePeer({
      initiator: options.initiator,
      // Text stays text; as a byte stream it would be cut and joined at will.
      objectMode: true,
      channelName: 'control',
      channelConfig: { negotiated: true, id: CONTROL_CHANNEL_ID },
      config: { iceServers: [...options.iceServers] },
      ...(wrtc && { wrtc }),
    });
    // First: where no RTCPeerConnection can be made, simple-peer says so a moment later, to whoever listens.
    this.#peer.on('error', (error) => this.#end({ reason: 'failed', error }));
    this.#peer.on('close', () => this.#end({ reason: 'closed' }));
    const pc = peerConnectionOf(this.#peer);
    this.lapChannel = pc.createDataChannel(LAP_CHANNEL_LABEL, LAP_CHANNEL_INIT);
    // A channel that the other side announces is not ours, and would take memory for as long as it stays.
    pc.addEventListener('datachannel', () => this.#end({ reason: 'protocol' }));
    this.#peer.on('signal', (data) => {
      const signal = toSignal(data);
      if (signal) options.onSignal(signal);
    });
    this.#peer.on('connect', () => this.onOpen?.());
    this.#peer.on('data', (data: unknown) => this.#receive(data));
  }

  /** Hands on what the other side signalled. What simple-peer cannot take ends the connection; nothing is thrown. */
  signal(signal: Signal): void {
    if (this.#ended) return;
    try {
      this.#peer.signal(signal as SimplePeer.SignalData);
    } catch (error) {
      this.#end({ reason: 'failed', error: error as Error });
    }
  }

  /** False if the control channel is not open (yet or any more): such a message is not queued. */
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
    const message = parseControl(data);
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
    this.onEnd?.(end);
    this.#peer.destroy();
  }
}

/** simple-peer has no method for further channels; `_pc` is where it has kept its RTCPeerConnection since its first version. */
function peerConnectionOf(peer: SimplePeer.Instance): RTCPeerConnection {
  const { _pc: pc } = peer as unknown as { _pc: RTCPeerConnection | null };
  if (!pc)
    throw new Error('No RTCPeerConnection could be made: check the ICE servers, and that WebRTC is not blocked.');
  return pc;
}

/** simple-peer also asks for tracks and renegotiation, of which a connection with data alone has no need. */
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
