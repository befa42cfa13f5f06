import { createRng } from '@shoal/model';

/** Size of the sample table: 16 random bits choose a value, which makes tens of gigabytes in minutes. */
const NUM_SAMPLES = 65_536;

/** Fills buffers with seeded bfloat16 normal deviates of a given mean and standard deviation, or with bytes. */
export class RandomBf16 {
  readonly #normals: Float64Array;
  readonly #tables = new Map<string, Uint16Array>();
  #state: number;

  constructor(seed: number) {
    const rng = createRng(seed);
    // Box and Muller 1958; 1 − u, since log(0) is −∞.
    this.#normals = Float64Array.from({ length: NUM_SAMPLES }, () => {
      return Math.sqrt(-2 * Math.log(1 - rng())) * Math.cos(2 * Math.PI * rng());
    });
    this.#state = Math.floor(rng() * 0xffff_ffff) | 1;
  }

  /** Fills `target` with mean + standardDeviation × N(0, 1). */
  fill(target: Uint16Array, mean: number, standardDeviation: number): void {
    const table = this.#table(mean, standardDeviation);
    // xorshift32 (Marsaglia 2003): two values from each word.
    let x = this.#state;
    for (let i = 0; i < target.length; i += 2) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      target[i] = table[x & 0xffff]!;
      if (i + 1 < target.length) target[i + 1] = table[x >>> 16]!;
    }
    this.#state = x;
  }

  /** Fills `target` with bytes from `lowest` to `highest`, each about equally likely. */
  fillBytes(target: Uint8Array, lowest: number, highest: number): void {
    const range = highest - lowest + 1;
    let x = this.#state;
    for (let i = 0; i < target.length; i += 4) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      for (let j = 0; j < 4 && i + j < target.length; j++) {
        target[i + j] = lowest + ((((x >>> (8 * j)) & 0xff) * range) >>> 8);
      }
    }
    this.#state = x;
  }

  #table(mean: number, standardDeviation: number): Uint16Array {
    const key = `${mean} ${standardDeviation}`;
    let table = this.#tables.get(key);
    if (!table) {
      const values = Float32Array.from(this.#normals, (normal) => mean + standardDeviation * normal);
      const bits = new Uint32Array(values.buffer);
      table = Uint16Array.from(bits, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16);
      this.#tables.set(key, table);
    }
    return table;
  }
}
