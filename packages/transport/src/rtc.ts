import { createRequire } from 'node:module';
import { setTimeout } from 'node:timers/promises';
import type { PeerConnection as NativePeerConnection } from 'node-datachannel';
import type { RtcClasses } from './connection.ts';
import { TransportError } from './errors.ts';
import { freeUdpPort, type PortRange } from './udp-port.ts';

export type RtcName = 'node-datachannel' | 'wrtc';

/** A WebRTC implementation for Node. */
export interface RtcImplementation {
  readonly name: RtcName;
  readonly classes: RtcClasses;
  /** The one UDP port of all connections, if there is one (`RtcOptions.udpPorts`). */
  readonly udpPort: number | undefined;
  /** Releases the implementation. When the last user has, its threads end so that the process can exit. */
  close(): void;
}

export interface RtcOptions {
  /**
   * All connections share one UDP port, a free one of these, which is held until the implementation is closed. By default
   * each connection has a port of its own, which the system chooses.
   */
  udpPorts?: PortRange | undefined;
}

const TOO_EARLY = /remote candidate without (ICE transport|remote description)/;
const MAX_CANDIDATE_ATTEMPTS = 50;
const CANDIDATE_RETRY_MS = 10;

/** A loaded library, shared by the whole process. */
interface Library {
  /** Classes whose connections use this port, each one of its own by default. */
  classes(udpPort?: number): RtcClasses;
  /** Takes a port for good; returns the call that gives it back. Undefined if connections cannot share one. */
  hold?: (udpPort: number) => () => void;
  /** Ends the library; its connections are unusable afterwards. */
  end(): void;
  /** Callers of `loadRtc` that have not closed it yet. */
  users: number;
}

const loaders: Record<RtcName, () => Promise<Library>> = {
  'node-datachannel': loadNodeDataChannel,
  wrtc: loadWrtc,
};

const loaded = new Map<RtcName, Promise<Library>>();

/**
 * Loads the first of `order` that works here; the caller must close it. node-datachannel comes first because it is several times
 * faster and reports when its buffer has drained. Throws a TransportError (`unavailable`) that names the failures and the remedy.
 */
export async function loadRtc(
  order: readonly RtcName[] = ['node-datachannel', 'wrtc'],
  { udpPorts }: RtcOptions = {},
): Promise<RtcImplementation> {
  const failures: unknown[] = [];
  for (const name of order) {
    let promise = loaded.get(name);
    if (!promise) loaded.set(name, (promise = loaders[name]()));
    let library: Library;
    try {
      library = await promise;
      if (udpPorts && !library.hold) throw new Error('its connections cannot share a port, so omit --udp-ports');
    } catch (error) {
      loaded.delete(name);
      failures.push(new Error(`${name}: ${(error as Error).message}`, { cause: error }));
      continue;
    }
    return lend(name, library, udpPorts && (await freeUdpPort(udpPorts)));
  }
  const details = failures.map((failure) => (failure as Error).message).join('; ');
  throw new TransportError(
    'unavailable',
    `No WebRTC for ${process.platform}-${process.arch} (${details}). Both come as prebuilt optional packages: ` +
      'run `npm install --include=optional` on this machine, not with a node_modules copied from another platform.',
    { cause: new AggregateError(failures) },
  );
}

function lend(name: RtcName, library: Library, udpPort: number | undefined): RtcImplementation {
  const giveBack = udpPort === undefined ? undefined : library.hold!(udpPort);
  library.users++;
  let isOpen = true;
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    giveBack?.();
    if (--library.users > 0) return;
    loaded.delete(name);
    library.end();
  };
  return { name, classes: library.classes(udpPort), udpPort, close };
}

/** Ends every library that `loadRtc` has loaded, even while it is in use. */
export async function closeRtc(): Promise<void> {
  const all = [...loaded.values()];
  loaded.clear();
  for (const result of await Promise.allSettled(all)) {
    if (result.status === 'fulfilled') result.value.end();
  }
}

async function loadNodeDataChannel(): Promise<Library> {
  const library = await import('node-datachannel');
  const polyfill = await import('node-datachannel/polyfill');
  // usrsctp delays acknowledgements by 20 ms by default, which a row that needs two round trips would wait for.
  // The setting only takes effect before the first connection.
  library.setSctpSettings({ delayedSackTime: 0 });

  /** The polyfill, adapted to what simple-peer expects of a browser. */
  class AdaptedConnection extends polyfill.RTCPeerConnection {
    #native: NativePeerConnection;

    constructor(config: RTCConfiguration = {}, udpPort?: number) {
      // By default libdatachannel makes an offer as soon as there is a channel, even on the answering side, and the two offers
      // race. Here a description is made only when simple-peer asks for one.
      const native = new library.PeerConnection('shoal', {
        iceServers: iceServerUrls(config.iceServers ?? []),
        disableAutoNegotiation: true,
        ...(udpPort !== undefined && { enableIceUdpMux: true, portRangeBegin: udpPort, portRangeEnd: udpPort }),
      });
      super({ ...config, peerConnection: native } as RTCConfiguration);
      this.#native = native;
    }

    // simple-peer assigns to `sdp`, which has no setter on the polyfill's description.
    override async createOffer(): Promise<RTCSessionDescriptionInit> {
      this.#native.setLocalDescription('offer');
      return plainDescription(await super.createOffer());
    }

    override async createAnswer(): Promise<RTCSessionDescriptionInit> {
      this.#native.setLocalDescription('answer');
      return plainDescription(await super.createAnswer());
    }

    /**
     * libdatachannel makes its ICE transport beside, and throws at a candidate of the other side's that comes before it, mostly where both
     * sides are libdatachannel on a busy machine. The candidate then waits for it.
     */
    override async addIceCandidate(candidate?: RTCIceCandidateInit | null): Promise<void> {
      for (let attempt = 1; ; attempt++) {
        try {
          return await super.addIceCandidate(candidate as RTCIceCandidateInit);
        } catch (error) {
          if (attempt === MAX_CANDIDATE_ATTEMPTS || !TOO_EARLY.test(String(error))) throw error;
          await setTimeout(CANDIDATE_RETRY_MS);
        }
      }
    }

    /** libdatachannel sets a description when it makes it. */
    override async setLocalDescription(): Promise<void> {}

    // The side that does not initiate passes null as the label, which a browser converts to 'null'.
    override createDataChannel(label: string | null, init?: RTCDataChannelInit) {
      return super.createDataChannel(String(label), init);
    }
  }

  const { RTCSessionDescription, RTCIceCandidate } = polyfill;
  const classes = (udpPort?: number): RtcClasses => {
    class RTCPeerConnection extends AdaptedConnection {
      constructor(config: RTCConfiguration = {}) {
        super(config, udpPort);
      }
    }
    return { RTCPeerConnection, RTCSessionDescription, RTCIceCandidate } as unknown as RtcClasses;
  };
  // Connections that share a port close it with the last of them. A port that another program takes meanwhile would end this
  // process at the next connection, by an exception in native code: so it is held.
  const hold = (udpPort: number): (() => void) => {
    const listener = new library.IceUdpMuxListener(udpPort);
    return () => listener.stop();
  };
  return { classes, hold, end: () => library.cleanup(), users: 0 };
}

/** libdatachannel takes credentials inside the URL, percent-encoded. */
function iceServerUrls(servers: readonly RTCIceServer[]): string[] {
  return servers.flatMap(({ urls, username, credential }) =>
    [urls].flat().map((url) => {
      if (!username || !credential) return url;
      const colon = url.indexOf(':');
      const login = `${encodeURIComponent(username)}:${encodeURIComponent(credential)}`;
      return `${url.slice(0, colon)}:${login}@${url.slice(colon + 1)}`;
    }),
  );
}

function plainDescription({ type, sdp }: RTCSessionDescriptionInit): RTCSessionDescriptionInit {
  return { type, sdp: sdp ?? '' };
}

async function loadWrtc(): Promise<Library> {
  // Optional CommonJS with native code and without suitable types, so it is required by name.
  const classes = createRequire(import.meta.url)('@roamhq/wrtc') as RtcClasses;
  return { classes: () => classes, end: () => {}, users: 0 };
}
