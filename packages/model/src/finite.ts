/** The exponent of a float32, which is all ones in NaN and ∞ only. */
const EXPONENT_BITS = 0x7f80_0000;

/** The index of the first value that is NaN or ∞. */
export function firstNotFinite(values: Float32Array): number | undefined {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & EXPONENT_BITS) === EXPONENT_BITS) return i;
  return undefined;
}

/** Coordinates of a flat index: 7 in [2, 5] is "[1, 2]". */
export function placeOf(index: number, shape: readonly number[]): string {
  const place: number[] = [];
  let rest = index;
  for (const size of [...shape].reverse()) {
    place.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return `[${place.join(', ')}]`;
}
