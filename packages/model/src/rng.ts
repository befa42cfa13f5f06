/** A source of uniform numbers in [0, 1), with 53 random bits each. */
export type Rng = () => number;

/**
 * xoshiro128** (Blackman & Vigna 2018) seeded through SplitMix64, so that neighbouring seeds give unrelated sequences.
 * Any integer is a seed; seeds equal modulo 2⁶⁴ are the same. Throws a RangeError for anything else.
 */
export function createRng(seed: number): Rng {
  if (!Number.isInteger(seed)) throw new RangeError(`seed ${seed} is not an integer`);
  let [a, b, c, d] = splitMixWords(BigInt(seed));
  const next = () => {
    const result = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotateLeft(d, 11);
    return result;
  };
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
}

/** Four 32-bit words from two SplitMix64 outputs (Steele, Lea & Flood 2014). They are never all zero, from which xoshiro cannot move. */
function splitMixWords(seed: bigint): [number, number, number, number] {
  let state = BigInt.asUintN(64, seed);
  const words: number[] = [];
  while (words.length < 4) {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    z ^= z >> 31n;
    words.push(Number(z & 0xffffffffn) | 0, Number(z >> 32n) | 0);
  }
  return words as [number, number, number, number];
}

function rotateLeft(x: number, bits: number): number {
  return (x << bits) | (x >>> (32 - bits));
}

/** A draw from the standard normal distribution (Box and Muller 1958); uses two numbers of the generator. */
export function normalDraw(rng: Rng): number {
  return Math.sqrt(-2 * Math.log(1 - rng())) * Math.cos(2 * Math.PI * rng());
}
