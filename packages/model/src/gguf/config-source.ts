import type { Metadata } from './metadata.ts';

/** What an architecture's keys of config.json are made from. */
export interface ConfigSource {
  metadata: Metadata;
  has(tensor: string): boolean;
  /** `block_count` without the layers of the MTP module. */
  numHiddenLayers: number;
  numHeads: number;
  headDim: number;
}

/** The shortest decimal with the same float32, which is the number that was converted: 1e-6, not 9.99999997e-7. */
export function decimal(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}
