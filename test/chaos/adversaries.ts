import type { ExpertBackend } from '@shoal/kernels';
import { encodeRefuse, MIN_FRAGMENT_PAYLOAD_BYTES, peekFrame } from '@shoal/protocol';
import { writeFragment } from '@shoal/transport';

/**
 * Donors that compute nothing wrong and do harm all the same. The first four hold up laps; `never loads` takes a place in the
 * placement; `loses its device` and `toggles pause` ask for work again and again; the others flood their connection.
 */
export const ADVERSARIES = [
  'refuses slowly',
  'stays silent',
  'answers slowly',
  'answers now and then',
  'never loads',
  'loses its device',
  'toggles pause',
  'floods pings',
  'floods fragments',
  'floods keep-alives',
] as const;
export type Adversary = (typeof ADVERSARIES)[number];
export type Flood = Extract<Adversary, `floods ${string}`>;

/** The n-th adversary of a run, of those kinds. */
export const nthAdversary = (n: number, kinds: readonly Adversary[]): Adversary => kinds[n % kinds.length]!;

/** Kinds that behave until they serve. */
export const HOLD_UP_LAPS: readonly Adversary[] = [
  'refuses slowly',
  'stays silent',
  'answers slowly',
  'answers now and then',
];
/** Below the ten seconds that a first lap used to be given. */
const HELD_MS = 7_500;
/** `answers now and then` answers this many laps for each that it keeps. */
const ANSWERS_PER_SILENCE = 10;

/** Sends a frame as the adversary would, or keeps it. Never waits, so that the tab goes on taking laps. */
export function adverseSend(
  kind: Adversary,
  send: (frame: Uint8Array) => Promise<void>,
  isServing: () => boolean,
): (frame: Uint8Array) => Promise<void> {
  if (!HOLD_UP_LAPS.includes(kind)) return send;
  let answers = 0;
  const later = (frame: Uint8Array): void => {
    setTimeout(() => void send(frame).catch(() => {}), HELD_MS).unref();
  };
  return async (frame) => {
    const { type, lapId } = peekFrame(frame);
    if (!isServing() || type !== 'combine') return send(frame);
    if (kind === 'refuses slowly') later(encodeRefuse({ lapId, reason: 'busy' }));
    else if (kind === 'answers slowly') later(frame);
    else if (kind === 'answers now and then' && answers++ % (ANSWERS_PER_SILENCE + 1) < ANSWERS_PER_SILENCE)
      return send(frame);
  };
}

/** A backend that never finishes loading an expert. */
export function neverLoads(backend: ExpertBackend): ExpertBackend {
  return new Proxy(backend, {
    get(target, name) {
      if (name === 'load') return () => new Promise<void>(() => {});
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

const FLOOD_MESSAGES = 1_000;
/** What a channel may hold back; beyond it the flood waits for the wire. */
const FLOOD_BUFFER_BYTES = 256 * 1024;
const PING = 3;
const scratch = new Uint8Array(2 * MIN_FRAGMENT_PAYLOAD_BYTES);
let nextId = 0;

const FLOODS: Record<Flood, (id: number) => Uint8Array<ArrayBuffer> | string> = {
  'floods pings': ping,
  'floods fragments': firstFragment,
  'floods keep-alives': () => '{"control":"keep-alive"}',
};

export const isFlood = (kind: Adversary | undefined): kind is Flood => kind !== undefined && kind in FLOODS;

/** Sends as many messages of the kind as the channel takes at once. */
export function flood(kind: Flood, channel: Pick<RTCDataChannel, 'readyState' | 'bufferedAmount' | 'send'>): void {
  for (let i = 0; i < FLOOD_MESSAGES; i++) {
    if (channel.readyState !== 'open' || channel.bufferedAmount > FLOOD_BUFFER_BYTES) return;
    nextId = (nextId + 1) & 0xff_ffff;
    try {
      channel.send(FLOODS[kind](nextId) as Uint8Array<ArrayBuffer>);
    } catch {
      // Closed by the coordinator in the midst of it. The page notices, and may rejoin.
      return;
    }
  }
}

function ping(id: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, (id << 8) | PING, true);
  return bytes;
}

/** Of a frame that never ends. */
function firstFragment(id: number): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(MIN_FRAGMENT_PAYLOAD_BYTES + 1);
  return writeFragment(scratch, frame, id, 0, MIN_FRAGMENT_PAYLOAD_BYTES);
}
