import { createRequire } from 'node:module';
import type { PeerConnection as NativePeerConnection } from 'node-datachannel';
import type { RtcClasses } from './connection.ts';
import { TransportError } from './errors.ts';

export type RtcName = 'node-datachannel' | 'wrtc';

/** A WebRTC implementation for Node. */
export interface RtcImplementation {
  readonly name: RtcName;
  readonly classes: RtcClasses;
  /** Its caller makes no more use of it. When nobody does, its threads end, so that the process can exit. */
  close(): void;
}

/** What there is once in a process, whoever has loaded it. */
interface Library {
  classes: RtcClasses;
  /** Connections are unusable afterwards. */
  end(): void;
  /** Callers of `loadRtc` that have not closed it. */
  users: number;
}

const loaders: Record<RtcName, () => Promise<Library>> = {
  'node-datachannel': loadNodeDataChannel,
  wrtc: loadWrtc,
};

const loaded = new Map<RtcName, Promise<Library>>();

/**
 * The first of `order` that loads here, each loaded once, to be closed by whoever has asked. node-datachannel comes first: it is several times faster and tells
 * when its buffer has drained. Throws a TransportError (`unavailable`) naming what failed and what to do.
 */
export async function loadRtc(order: readonly RtcName[] = ['node-datachannel', 'wrtc']): Promise<RtcImplementation> {
  const failures: unknown[] = [];
  for (const name of order) {
    let promise = loaded.get(name);
    if (!promise) loaded.set(name, (promise = loaders[name]()));
    try {
      return lend(name, await promise);
    } catch (error) {
      loaded.delete(name);
      failures.push(new Error(`${name}: ${(error as Error).message}`, { cause: error }));
    }
  }
  const details = failures.map((failure) => (failure as Error).message).join('; ');
  throw new TransportError(
    'unavailable',
    `No WebRTC for ${process.platform}-${process.arch} (${details}). Both come as prebuilt optional packages: ` +
      'run `npm install --include=optional` on this machine, not with a node_modules copied from another platform.',
    { cause: new AggregateError(failures) },
  );
}

function lend(name: RtcName, library: Library): RtcImplementation {
  library.users++;
  let isOpen = true;
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    if (--library.users > 0) return;
    loaded.delete(name);
    library.end();
  };
  return { name, classes: library.classes, close };
}

/** Ends whatever `loadRtc` has loaded, whoever uses it. */
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
  // usrsctp holds acknowledgements back for 20 ms by default: a row that needs two round trips would wait for it.
  // It takes effect only before the first connection.
  library.setSctpSettings({ delayedSackTime: 0 });

  /** The polyfill, bent to what simple-peer expects of a browser. */
  class RTCPeerConnection extends polyfill.RTCPeerConnection {
    #native: NativePeerConnection;

    constructor(config: RTCConfiguration = {}) {
      // By itself libdatachannel makes an offer as soon as there is a channel, also on the side that is to answer; the two
      // offers then race. Here a description is made when simple-peer asks for one.
      const native = new library.PeerConnection('shoal', {
        iceServers: iceServerUrls(config.iceServers ?? []),
        disableAutoNegotiation: true,
      });
      super({ ...config, peerConnection: native } as RTCConfiguration);
      this.#native = native;
    }

    // simple-peer assigns to `sdp`, for which the polyfill's description has no setter.
    override async createOffer(): Promise<RTCSessionDescriptionInit> {
      this.#native.setLocalDescription('offer');
      return plainDescription(await super.createOffer());
    }

    override async createAnswer(): Promise<RTCSessionDescriptionInit> {
      this.#native.setLocalDescription('answer');
      return plainDescription(await super.createAnswer());
    }

    /** In libdatachannel a description is set in being made. */
    override async setLocalDescription(): Promise<void> {}

    // The side that does not initiate passes null for the name, which a browser makes 'null' of.
    override createDataChannel(label: string | null, init?: RTCDataChannelInit) {
      return super.createDataChannel(String(label), init);
    }
  }

  const { RTCSessionDescription, RTCIceCandidate } = polyfill;
  const classes = { RTCPeerConnection, RTCSessionDescription, RTCIceCandidate } as unknown as RtcClasses;
  return { classes, end: () => library.cleanup(), users: 0 };
}

/** libdatachannel takes credentials within the URL, percent-encoded. */
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
  // CommonJS with native code, optional, and without types of the shape that we need: required by name.
  const classes = createRequire(import.meta.url)('@roamhq/wrtc') as RtcClasses;
  return { classes, end: () => {}, users: 0 };
}
