import SimplePeer from 'simple-peer/simplepeer.min.js';
import { CONNECT_TIMEOUT_MS, type ControlMessage, type Signal } from '@shoal/protocol';
import { Connection, type ConnectionEnd, type ConnectionOptions } from './connection.ts';
import { FurtherConnections } from './further-connections.ts';

export interface DonorConnectionOptions extends Omit<ConnectionOptions, 'initiator'> {
  /** The donor begins by default, as `acceptPeer` expects. */
  initiator?: boolean;
  /** How many connections the coordinator wants in all; 1 by default. */
  lapConnections?: number;
  /**
   * Gets each lap channel in the same task that made it, still connecting: the only time at which a browser lets it be transferred
   * to a worker. There, `new FramedChannel(channel)` makes the first one a link, and `link.addChannel(channel)` adds a further one.
   * Those come when the first connection stands.
   */
  onLapChannel: (channel: RTCDataChannel, isFurther: boolean) => void;
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

/** The donor's page: one WebRTC connection to the coordinator, or several of which the first is the one that counts. */
export function connectDonor(options: DonorConnectionOptions): DonorConnection {
  const { iceServers, onSignal, onLapChannel, initiator = true, lapConnections = 1 } = options;
  const connection = new Connection(SimplePeer, { iceServers, onSignal, initiator });
  const further = new FurtherConnections({
    count: lapConnections - 1,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    make: (number) => {
      const numbered = (signal: Signal): void => onSignal({ ...signal, connection: number });
      return new Connection(SimplePeer, { iceServers, onSignal: numbered, initiator });
    },
    onChannel: (channel) => onLapChannel(channel, true),
    onMisuse: () => connection.close(),
  });
  if (initiator) connection.onOpen = () => further.openAll();
  connection.onControl = options.onControl;
  connection.onEnd = (end) => {
    further.close();
    options.onEnd?.(end);
  };
  onLapChannel(connection.lapChannel, false);
  return {
    signal: (signal) => (signal.connection ? further.signal(signal.connection, signal) : connection.signal(signal)),
    sendControl: (message) => connection.sendControl(message),
    close: () => connection.close(),
  };
}
