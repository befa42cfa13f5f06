/** Faults of one direction of a wire; all can be changed while messages are in flight. */
export interface WireFaults {
  /** One way. */
  delayMs: number;
  /** Maximum extra delay, uniform per message; enough on its own to reorder messages. */
  jitterMs: number;
  /** Share of messages that are lost, 0 to 1. */
  loss: number;
  /** Share of messages with one byte changed. */
  corruption: number;
  /** Share of messages that arrive twice. */
  duplication: number;
  /** Share of messages held back by REORDER_MS so that later ones overtake them. */
  reordering: number;
  /** Infinity empties the sender's buffer after one turn of the event loop. */
  bytesPerSecond: number;
}

/** Extra delay of a reordered message. */
const REORDER_MS = 5;

export const perfectWire: WireFaults = {
  delayMs: 0,
  jitterMs: 0,
  loss: 0,
  corruption: 0,
  duplication: 0,
  reordering: 0,
  bytesPerSecond: Number.POSITIVE_INFINITY,
};

/** Sends one message over a faulty wire; calls `arrive` for each copy that gets through. */
export function carry(
  message: Uint8Array<ArrayBuffer>,
  wire: WireFaults,
  random: () => number,
  arrive: (message: Uint8Array<ArrayBuffer>) => void,
): void {
  const happens = (share: number): boolean => share > 0 && random() < share;
  if (happens(wire.loss)) return;
  if (happens(wire.corruption)) corrupt(message, random);
  const copies = happens(wire.duplication) ? 2 : 1;
  for (let copy = 0; copy < copies; copy++) {
    const heldMs = happens(wire.reordering) ? REORDER_MS : 0;
    const jitterMs = wire.jitterMs > 0 ? random() * wire.jitterMs : 0;
    after(wire.delayMs + jitterMs + heldMs, () => arrive(message.slice()));
  }
}

function corrupt(message: Uint8Array, random: () => number): void {
  const at = Math.floor(random() * message.byteLength);
  message[at] = message[at]! ^ (1 + Math.floor(random() * 255));
}

/** Runs after a delay; 0 is the next turn of the event loop, which setTimeout would round up to 1 ms in Node. */
export function after(delayMs: number, run: () => void): void {
  if (delayMs <= 0 && typeof setImmediate === 'function') setImmediate(run);
  else setTimeout(run, Math.max(0, delayMs));
}

/** mulberry32: a small generator with the same numbers on every platform. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
