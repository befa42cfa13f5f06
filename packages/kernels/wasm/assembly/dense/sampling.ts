// Answers token queries: draws a token from a row of logits, and computes log-probabilities. One task is a row, so that nothing
// depends on other rows. packages/model/src/sampler.ts computes the same in plain TypeScript.
import { exp2Lanes, expOf } from './exp';
import { copyChanged, dropUnlikely, hasChanges } from './logit-changes';
import { COUNT, find, foundMass, foundToken, MASS, weighTokens } from './nucleus';

// A token query, as packages/kernels/src/dense/token-queries.ts writes it.
const TEMPERATURE: usize = 0;
const TOP_P: usize = 8;
const UNIFORM: usize = 16;
/** 0: all tokens. */
const TOP_K: usize = 24;
/** A known token, or -1 to draw one. */
const KNOWN: usize = 28;
/** Number of most probable tokens to list; -1: no logprobs. */
const NUM_TOP: usize = 32;
// Its answer.
const STATUS: usize = 36;
const TOKEN: usize = 40;
/** Logit of the token, or of the damaged one. */
const LOGIT: usize = 44;
/** Σ e^(logit − largest). */
const SUM: usize = 48;
const LARGEST: usize = 56;
/** The query's row of logits. */
const ROW: usize = 60;
// Words 64 to 100 are its changes: logit-changes.ts.
/** [token, logit] of the most probable ones, best first. */
const TOP: usize = 104;

const CHOSEN: i32 = 0;
/** A logit is NaN or +∞. */
const DAMAGED: i32 = 1;
/** All logits are -∞. */
const NOTHING: i32 = 2;
/** All are once they are changed. */
const FORBIDDEN: i32 = 3;

/** Tokens whose weights are summed together, so that only one block is searched token by token. */
const BLOCK: i32 = 1024;

@inline
export function rowOfQuery(query: usize): i32 {
  return load<i32>(query, ROW);
}

/**
 * Answers a token query about logits [vocab]; may write up to three words behind them. `scratch` has a row of logits, for changed
 * ones, and what `weighTokens` needs.
 */
export function answerQuery(query: usize, logits: usize, vocab: i32, scratch: usize): void {
  for (let i = vocab; i < ((vocab + 3) & ~3); i++) store<f32>(logits + ((<usize>i) << 2), -Infinity);
  const largest = largestOf(logits, vocab);
  if (!(largest < Infinity) || largest == -Infinity) return refuse(query, logits, vocab);
  const known = load<i32>(query, KNOWN);
  const numTop = load<i32>(query, NUM_TOP);
  const token = known < 0 ? choose(query, logits, vocab, largest, scratch) : known;
  if (token < 0) return store<i32>(query, FORBIDDEN, STATUS);
  store<i32>(query, CHOSEN, STATUS);
  store<i32>(query, token, TOKEN);
  store<f32>(query, load<f32>(logits + ((<usize>token) << 2)), LOGIT);
  if (numTop < 0) return;
  store<f32>(query, largest, LARGEST);
  store<f64>(query, sumBlocks(logits, vocab, largest, 1, scratch), SUM);
  listTop(logits, vocab, numTop, query + TOP);
}

/** NaN if there is one. */
function largestOf(logits: usize, vocab: i32): f32 {
  let a = f32x4.splat(-Infinity);
  let b = f32x4.splat(-Infinity);
  let i = 0;
  for (; i + 7 < vocab; i += 8) {
    a = f32x4.max(a, v128.load(logits + ((<usize>i) << 2)));
    b = f32x4.max(b, v128.load(logits + ((<usize>i) << 2), 16));
  }
  for (; i < vocab; i += 4) a = f32x4.max(a, v128.load(logits + ((<usize>i) << 2)));
  a = f32x4.max(a, b);
  return max<f32>(
    max<f32>(f32x4.extract_lane(a, 0), f32x4.extract_lane(a, 1)),
    max<f32>(f32x4.extract_lane(a, 2), f32x4.extract_lane(a, 3)),
  );
}

/** The first token with that logit. */
function indexOf(logits: usize, value: f32): i32 {
  const wanted = f32x4.splat(value);
  let i = 0;
  while (!v128.any_true(f32x4.eq(v128.load(logits + ((<usize>i) << 2)), wanted))) i += 4;
  while (load<f32>(logits + ((<usize>i) << 2)) != value) i++;
  return i;
}

function refuse(query: usize, logits: usize, vocab: i32): void {
  store<i32>(query, NOTHING, STATUS);
  for (let i = 0; i < vocab; i++) {
    const value = load<f32>(logits + ((<usize>i) << 2));
    if (value < Infinity) continue;
    store<i32>(query, DAMAGED, STATUS);
    store<i32>(query, i, TOKEN);
    store<f32>(query, value, LOGIT);
    return;
  }
}

/** The query's token, drawn from the logits with its changes; -1 if they leave none. */
function choose(query: usize, logits: usize, vocab: i32, largest: f32, scratch: usize): i32 {
  const temperature = load<f64>(query, TEMPERATURE);
  // For a subnormal T, 1 / T would be infinite, and the best token's weight NaN.
  const inverse = min<f64>(1 / temperature, f64.MAX_VALUE);
  if (hasChanges(query)) {
    const changed = scratch;
    scratch += (<usize>((vocab + 3) & ~3)) << 2;
    copyChanged(query, logits, vocab, changed);
    logits = changed;
    largest = largestOf(logits, vocab);
    if (largest == -Infinity) return -1;
    if (temperature != 0) dropUnlikely(query, logits, vocab, largest);
  }
  return temperature == 0 ? indexOf(logits, largest) : draw(query, logits, vocab, largest, inverse, scratch);
}

/** Draws a token with the query's random number. */
function draw(query: usize, logits: usize, vocab: i32, largest: f32, inverse: f64, scratch: usize): i32 {
  const topK = load<i32>(query, TOP_K);
  const topP = load<f64>(query, TOP_P);
  const uniform = load<f64>(query, UNIFORM);
  const isCut = topK > 0 && topK < vocab;
  if (!isCut && topP >= 1) return drawFromAll(logits, vocab, largest, inverse, uniform, scratch);
  let mass = weighTokens(logits, vocab, largest, inverse, scratch);
  if (isCut) {
    find(COUNT, <f64>topK, false);
    mass = foundMass();
  }
  if (topP < 1) {
    find(MASS, topP * mass, false);
    mass = foundMass();
  }
  find(MASS, uniform * mass, true);
  return foundToken();
}

/** e^((logit − largest) × inverse) of tokens i and i + 1, and of the two after them. */
@inline
function weights(v: v128, largest: v128, inverse: v128): v128 {
  return exp2Lanes(f64x2.mul(f64x2.sub(f64x2.promote_low_f32x4(v), largest), inverse));
}

@inline
function upperHalf(v: v128): v128 {
  return v128.shuffle<i32>(v, v, 2, 3, 2, 3);
}

/** Σ e^((logit − largest) × inverse). Writes the sum of each block of tokens to `sums`. */
function sumBlocks(logits: usize, vocab: i32, largest: f32, inverse: f64, sums: usize): f64 {
  const max = f64x2.splat(<f64>largest);
  const factor = f64x2.splat(inverse);
  let total: f64 = 0;
  let to = sums;
  for (let start = 0; start < vocab; start += BLOCK) {
    let a = f64x2.splat(0);
    let b = f64x2.splat(0);
    const end = min(vocab, start + BLOCK);
    for (let i = start; i < end; i += 4) {
      const v = v128.load(logits + ((<usize>i) << 2));
      a = f64x2.add(a, weights(v, max, factor));
      b = f64x2.add(b, weights(upperHalf(v), max, factor));
    }
    a = f64x2.add(a, b);
    const sum = f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1);
    store<f64>(to, sum);
    to += 8;
    total += sum;
  }
  return total;
}

/** Draws in order of the index: first the block, then the token in it. */
function drawFromAll(logits: usize, vocab: i32, largest: f32, inverse: f64, uniform: f64, scratch: usize): i32 {
  const target = uniform * sumBlocks(logits, vocab, largest, inverse, scratch);
  let before: f64 = 0;
  let block = 0;
  let heavy = 0;
  let beforeHeavy: f64 = 0;
  for (let start = 0; start < vocab; start += BLOCK, block++) {
    const sum = load<f64>(scratch + ((<usize>block) << 3));
    if (sum == 0) continue;
    heavy = start;
    beforeHeavy = before;
    before += sum;
    if (target < before) break;
  }
  let sum = beforeHeavy;
  let last = heavy;
  for (let i = heavy; i < min(vocab, heavy + BLOCK); i++) {
    const weight = expOf((<f64>load<f32>(logits + ((<usize>i) << 2)) - <f64>largest) * inverse);
    if (weight == 0) continue;
    sum += weight;
    last = i;
    if (target < sum) return i;
  }
  // Rounding left the sum slightly too small.
  return last;
}

/** Writes the `count` tokens with the largest logits to `out`, the lower index first on a tie. */
function listTop(logits: usize, vocab: i32, count: i32, out: usize): void {
  if (count == 0) return;
  let held = 0;
  let least: f32 = -Infinity;
  for (let i = 0; i < vocab; i += 4) {
    const v = v128.load(logits + ((<usize>i) << 2));
    if (held == count && !v128.any_true(f32x4.gt(v, f32x4.splat(least)))) continue;
    for (let j = i; j < min(vocab, i + 4); j++) {
      const value = load<f32>(logits + ((<usize>j) << 2));
      if (held == count && !(value > least)) continue;
      let at = held == count ? held - 1 : held++;
      for (; at > 0 && value > load<f32>(out + ((<usize>at - 1) << 3), 4); at--) {
        store<u64>(out + ((<usize>at) << 3), load<u64>(out + ((<usize>at - 1) << 3)));
      }
      store<i32>(out + ((<usize>at) << 3), j);
      store<f32>(out + ((<usize>at) << 3), value, 4);
      least = load<f32>(out + ((<usize>held - 1) << 3), 4);
    }
  }
}
