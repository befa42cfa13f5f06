/** A key of 32 bits is sorted by digits of this many bits. */
const DIGIT_BITS = 11;
const BUCKETS = 2 ** DIGIT_BITS;
const DIGITS = Math.ceil(32 / DIGIT_BITS);
/** Below this many tokens a comparison sort is as fast. */
const FEW = 1024;

/**
 * Sorts `tokens` by weight, the largest first; ties keep their order in `tokens`. weights [vocabSize] are finite and not
 * negative. The upper halves of the doubles, which nearly always differ, are radix-sorted, least significant digit first
 * (Knuth, TAOCP 3, §5.2.5): a comparison sort of a whole vocabulary takes tens of milliseconds.
 */
export function byWeight(tokens: Uint32Array, weights: Float64Array): Uint32Array {
  const picked = new Float64Array(tokens.length);
  for (let i = 0; i < tokens.length; i++) picked[i] = weights[tokens[i]!]!;
  const order = new Uint32Array(tokens.length);
  for (let i = 0; i < order.length; i++) order[i] = i;
  const falling = (a: number, b: number): number => picked[b]! - picked[a]! || a - b;
  if (tokens.length < FEW) order.sort(falling);
  else sortTies(sortByUpperHalf(order, picked), picked, falling);
  for (let i = 0; i < order.length; i++) order[i] = tokens[order[i]!]!;
  return order;
}

/** A stable sort, in place. The bits of non-negative doubles are in the same order as their values. */
function sortByUpperHalf(order: Uint32Array, weights: Float64Array): Uint32Array {
  const bits = new Uint32Array(weights.buffer);
  const counts = new Uint32Array(DIGITS * BUCKETS);
  for (let i = 1; i < bits.length; i += 2) {
    for (let digit = 0; digit < DIGITS; digit++) counts[digit * BUCKETS + digitOf(bits[i]!, digit)]!++;
  }
  let from = order;
  let to: Uint32Array = new Uint32Array(order.length);
  for (let digit = 0; digit < DIGITS; digit++) {
    const next = counts.subarray(digit * BUCKETS, (digit + 1) * BUCKETS);
    let sum = 0;
    for (let bucket = BUCKETS - 1; bucket >= 0; bucket--) {
      const count = next[bucket]!;
      next[bucket] = sum;
      sum += count;
    }
    for (let i = 0; i < from.length; i++) {
      const item = from[i]!;
      to[next[digitOf(bits[2 * item + 1]!, digit)]!++] = item;
    }
    [from, to] = [to, from];
  }
  if (from !== order) order.set(from);
  return order;
}

function digitOf(key: number, digit: number): number {
  return (key >>> (digit * DIGIT_BITS)) & (BUCKETS - 1);
}

/** Sorts runs of tokens whose upper halves are equal and whose lower halves are not. */
function sortTies(order: Uint32Array, weights: Float64Array, compare: (a: number, b: number) => number): void {
  const bits = new Uint32Array(weights.buffer);
  for (let start = 0; start < order.length;) {
    const [low, high] = [bits[2 * order[start]!]!, bits[2 * order[start]! + 1]!];
    let end = start + 1;
    let differ = false;
    for (; end < order.length && bits[2 * order[end]! + 1] === high; end++) differ ||= bits[2 * order[end]!] !== low;
    if (differ) order.subarray(start, end).sort(compare);
    start = end;
  }
}
