import SimplePeer from 'simple-peer/simplepeer.min.js';
import { CONNECT_TIMEOUT_MS, HEARTBEAT_MS, type ControlMessage, type Signal } from '@shoal/protocol';
import { AnnouncedAddresses } from './announced-addresses.ts';
import { addressOf, candidatesOf } from './candidates.ts';
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
  /** The first addresses that the peer was told to reach this end at, as `ADDRESS:PORT`. */
  readonly told: readonly string[];
  /** Ends link and connections. */
  close(): void;
}

/** Enough to tell an operator which addresses were tried. */
const MAX_TOLD = 3;

/** What the peer was told. */
class ToldAddresses {
  readonly addresses: string[] = [];

  note(signal: Signal): void {
    for (const candidate of candidatesOf(signal)) {
      const address = addressOf(candidate);
      if (address && this.addresses.length < MAX_TOLD && !this.addresses.includes(address))
        this.addresses.push(address);
    }
  }
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
  const told = new ToldAddresses();
  const onSignal = (signal: Signal): void => {
    for (const each of announced?.rewrite(signal) ?? [signal]) {
      told.note(each);
      options.onSignal(each);
    }
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
  const opened = openLink(connection, channel, link, connectTimeoutMs, told);
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
    told: told.addresses,
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
  told: ToldAddresses,
): Promise<Link> {
  return new Promise((resolve, reject) => {
    const cancelDeadline = startDeadline(() => {
      reject(
        new TransportError(
          'timeout',
          `No connection to the peer within ${connectTimeoutMs} ms: ${whyNone(connection, told)}.`,
        ),
      );
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

/** What this end knows of it. A tab that can still speak knows more (its `no-path`). */
function whyNone({ path }: Connection, { addresses }: ToldAddresses): string {
  if (path.isFound) return 'there is a way by UDP, but the handshake did not end';
  const { host, srflx, relay } = path.facts().theirs;
  const named = `it named ${host + srflx + relay} addresses, ${relay} of them relays`;
  return `there is no way by UDP to ${addresses.join(' or ') || 'an address of this machine, which has none'} (${named})`;
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
