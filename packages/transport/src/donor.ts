import SimplePeer from 'simple-peer/simplepeer.min.js';
import { CONNECT_TIMEOUT_MS, type ControlMessage, type Signal } from '@shoal/protocol';
import { Connection, type ConnectionEnd, type ConnectionOptions } from './connection.ts';
import { FurtherConnections } from './further-connections.ts';
import type { PathWatch } from './path-watch.ts';

export interface DonorConnectionOptions extends Omit<ConnectionOptions, 'initiator'> {
  /** True by default, as `acceptPeer` expects. */
  initiator?: boolean;
  /** Total number of connections that the coordinator asked for; 1 by default. */
  lapConnections?: number;
  /**
   * Receives each lap channel, still connecting, in the task that made it: the only time when a browser can transfer it to a
   * worker. There, `new FramedChannel(channel)` makes a link of the first one, and `link.addChannel(channel)` adds the further
   * ones, which come once the first connection is up.
   */
  onLapChannel: (channel: RTCDataChannel, isFurther: boolean) => void;
  onControl?: (message: ControlMessage) => void;
  /** The first connection is up. */
  onOpen?: () => void;
  /** Called once when the connection is over, also after `close`. The link in the worker closes by itself. */
  onEnd?: (end: ConnectionEnd) => void;
}

export interface DonorConnection {
  signal(signal: Signal): void;
  /** Returns false if the message could not be sent. On `pagehide` there is only time for `{ control: 'goodbye' }`. */
  sendControl(message: ControlMessage): boolean;
  /** What is known of the way to the coordinator. */
  readonly path: Pick<PathWatch, 'isFound' | 'addresses' | 'facts'>;
  close(): void;
}

/** Connects a donor's page to the coordinator over one or more WebRTC connections; the visit lasts as long as the first. */
export function connectDonor(options: DonorConnectionOptions): DonorConnection {
  const { iceServers, onSignal, onLapChannel, initiator = true, lapConnections = 1 } = options;
  const connect = (onSignal: (signal: Signal) => void): Connection =>
    new Connection(SimplePeer, { iceServers, onSignal, initiator });
  const connection = connect(onSignal);
  const further = new FurtherConnections({
    count: lapConnections - 1,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    connect,
    onSignal,
    onChannel: (channel) => onLapChannel(channel, true),
    onMisuse: () => connection.close(),
  });
  connection.onOpen = () => {
    if (initiator) further.openAll();
    options.onOpen?.();
  };
  connection.onControl = options.onControl;
  connection.onEnd = (end) => {
    further.close();
    options.onEnd?.(end);
  };
  onLapChannel(connection.lapChannel, false);
  return {
    signal: (signal) => (signal.connection ? further.signal(signal.connection, signal) : connection.signal(signal)),
    sendControl: (message) => connection.sendControl(message),
    path: connection.path,
    close: () => connection.close(),
  };
}
