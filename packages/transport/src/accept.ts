import SimplePeer from 'simple-peer/simplepeer.min.js';
import { CONNECT_TIMEOUT_MS, HEARTBEAT_MS, type ControlMessage, type Signal } from '@shoal/protocol';
import { AnnouncedAddresses } from './announced-addresses.ts';
import { Connection, type ConnectionEnd, type ConnectionOptions } from './connection.ts';
import type { DataChannelLike } from './channel.ts';
import { startDeadline } from './deadline.ts';
import { TransportError } from './errors.ts';
import { FramedChannel } from './framed-channel.ts';
import { FurtherConnections } from './further-connections.ts';
import type { Link, LinkCloseReason } from './link.ts';
import type { RtcImplementation } from './rtc.ts';
import { SignalFilter } from './signal-filter.ts';

export interface AcceptOptions extends Omit<ConnectionOptions, 'initiator'> {
  rtc: RtcImplementation;
  /** False by default: the donor starts, once it is ready for the answer. */
  initiator?: boolean;
  /** 0 turns pings off. */
  heartbeatMs?: number;
  connectTimeoutMs?: number;
  /** Largest frame to accept from the peer: a combine of the model's rows. See FramedChannelOptions. */
  maxFrameBytes?: number;
  /** See FramedChannelOptions. */
  onlyAnswers?: boolean;
  /** Connections that the donor may open, including the main one; 1 by default. */
  lapConnections?: number;
  /**
   * Whether packets may be sent to an address that the donor names; asked about IPv4 and IPv6 addresses. With it, only
   * MAX_CANDIDATES of a connection's candidates are used, and no names. Without it, signals are taken as they are.
   */
  allowsTarget?: (address: string) => boolean;
  /** Addresses that the peer is told in place of this machine's own. */
  announce?: readonly string[];
  onControl?: (message: ControlMessage) => void;
  /** Called once for each further connection that ended or never opened; the link goes on. */
  onFurtherLost?: (number: number, why: string) => void;
}

export interface AcceptedPeer {
  signal(signal: Signal): void;
  /** Resolves when laps can be sent; rejects with a TransportError (`timeout`, `failed`, `closed`). */
  readonly link: Promise<Link>;
  sendControl(message: ControlMessage): boolean;
  /** Ends link and connections. */
  close(): void;
}

/** Time for a goodbye or a clean close to go out before the connection is torn down. */
const FLUSH_MS = 250;

/**
 * Accepts one donor's connection on the coordinator's side. Link and connection end together. Further connections, which the
 * donor opens once this one is up, carry fragments of the same link's frames.
 */
export function acceptPeer(options: AcceptOptions): AcceptedPeer {
  const { rtc, iceServers, initiator = false, lapConnections = 1, allowsTarget, announce = [] } = options;
  const announced = announce.length > 0 ? new AnnouncedAddresses(announce) : undefined;
  const onSignal = (signal: Signal): void => {
    for (const told of announced?.rewrite(signal) ?? [signal]) options.onSignal(told);
  };
  const filter = allowsTarget && new SignalFilter(allowsTarget);
  const { heartbeatMs = HEARTBEAT_MS, connectTimeoutMs = CONNECT_TIMEOUT_MS } = options;
  const connect = (onSignal: (signal: Signal) => void): Connection =>
    new Connection(SimplePeer, { iceServers, onSignal, initiator }, rtc.classes);
  const connection = connect(onSignal);
  connection.onControl = options.onControl;
  const further = new FurtherConnections({
    count: lapConnections - 1,
    connectTimeoutMs,
    connect,
    onSignal,
    onChannel: (channel) => link.addChannel(channel as DataChannelLike),
    onLost: options.onFurtherLost,
    onMisuse: () => link.close('protocol'),
  });
  const closeAll = (): void => {
    further.close();
    connection.close();
  };
  const channel = connection.lapChannel as DataChannelLike;
  const link = new FramedChannel(channel, {
    ...(options.onlyAnswers && { onlyAnswers: true }),
    ...(heartbeatMs > 0 && { heartbeatMs }),
    ...(options.maxFrameBytes !== undefined && { maxFrameBytes: options.maxFrameBytes }),
    afterClose: () => setTimeout(closeAll, FLUSH_MS),
    onChannelLost: (lost) => further.lost(lost),
  });
  if (initiator) connection.onOpen = () => further.openAll();
  const opened = openLink(connection, channel, link, connectTimeoutMs);
  // If the donor is gone, nothing may be awaiting this promise, and its rejection must not crash the process.
  opened.catch(() => {});
  return {
    signal(given) {
      const signal = filter ? filter.pass(given) : given;
      if (signal?.connection) further.signal(signal.connection, signal);
      else if (signal) connection.signal(signal);
    },
    link: opened,
    sendControl: (message) => connection.sendControl(message),
    close() {
      link.close();
      closeAll();
    },
  };
}

function openLink(
  connection: Connection,
  channel: DataChannelLike,
  link: FramedChannel,
  connectTimeoutMs: number,
): Promise<Link> {
  return new Promise((resolve, reject) => {
    const cancelDeadline = startDeadline(() => {
      reject(new TransportError('timeout', `No connection to the peer within ${connectTimeoutMs} ms.`));
      link.close('failed');
    }, connectTimeoutMs);
    channel.addEventListener('open', () => {
      cancelDeadline();
      resolve(link);
    });
    connection.onEnd = (end) => {
      cancelDeadline();
      reject(endError(end));
      link.close(closeReasons[end.reason]);
    };
  });
}

const closeReasons: Record<ConnectionEnd['reason'], LinkCloseReason> = {
  goodbye: 'goodbye',
  closed: 'remote-closed',
  failed: 'failed',
  protocol: 'protocol',
};

function endError({ reason, error }: ConnectionEnd): TransportError {
  const what = reason === 'failed' ? `failed: ${error?.message ?? 'unknown cause'}` : `ended (${reason})`;
  return new TransportError(reason === 'failed' ? 'failed' : 'closed', `The connection to the peer ${what}.`, {
    cause: error,
  });
}
