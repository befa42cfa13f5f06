import SimplePeer from 'simple-peer/simplepeer.min.js';
import type { ControlMessage, Signal } from '@shoal/protocol';
import { Connection, type ConnectionEnd, type ConnectionOptions } from './connection.ts';

export interface DonorConnectionOptions extends Omit<ConnectionOptions, 'initiator'> {
  /** The donor begins by default, as `acceptPeer` expects. */
  initiator?: boolean;
  /**
   * Gets the lap channel in the same task that made it, still connecting: the only time at which a browser lets it be
   * transferred to a worker. There, `new FramedChannel(channel)` makes it a link.
   */
  onLapChannel: (channel: RTCDataChannel) => void;
  onControl?: (message: ControlMessage) => void;
  /** Once, when the connection is over, also after `close`. The link in the worker closes by itself. */
  onEnd?: (end: ConnectionEnd) => void;
}

export interface DonorConnection {
  signal(signal: Signal): void;
  /** False if it could not be sent. On `pagehide`, `{ control: 'goodbye' }` is all there is time for. */
  sendControl(message: ControlMessage): boolean;
  close(): void;
}

/** The donor's page: one WebRTC connection to the coordinator. */
export function connectDonor(options: DonorConnectionOptions): DonorConnection {
  const { iceServers, onSignal, initiator = true } = options;
  const connection = new Connection(SimplePeer, { iceServers, onSignal, initiator });
  connection.onControl = options.onControl;
  connection.onEnd = options.onEnd;
  options.onLapChannel(connection.lapChannel);
  return connection;
}
