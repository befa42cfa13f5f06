// Changes to a row of logits before a token is drawn from it, in a copy, since log-probabilities are those of the model.
// packages/model/src/logit-changes.ts computes the same in plain TypeScript, bit for bit.

// A token query's changes, as packages/kernels/src/dense/token-queries.ts writes them.
/** How far below the largest logit a token may be; -∞: as far as it likes. */
const LEAST_GAP: usize = 64;
const REPETITION: usize = 72;
const FREQUENCY: usize = 76;
const PRESENCE: usize = 80;
/** [tokens, 2] Each biased token, and what is added to its logit. Then each token seen, and how often the answer has it. */
const LISTS: usize = 84;
const NUM_BIASED: usize = 88;
const NUM_SEEN: usize = 92;
/** A bit for each token that may be drawn; 0: all may. */
const MASK: usize = 96;

const LARGEST: f32 = f32.MAX_VALUE;

/** Whether a token is drawn from other logits than the model's. */
@inline
export function hasChanges(query: usize): bool {
  return (
    load<i32>(query, MASK) != 0 ||
    load<i32>(query, NUM_BIASED) > 0 ||
    load<i32>(query, NUM_SEEN) > 0 ||
    load<f64>(query, LEAST_GAP) > -Infinity
  );
}

/** Writes logits [vocab, padded to a multiple of 4 with -∞] to `out` with the query's mask, biases and penalties. */
export function copyChanged(query: usize, logits: usize, vocab: i32, out: usize): void {
  const mask = <usize>load<u32>(query, MASK);
  const bytes = (<usize>((vocab + 3) & ~3)) << 2;
  if (mask) copyAllowed(mask, logits, bytes, out);
  else memory.copy(out, logits, bytes);
  const biases = <usize>load<u32>(query, LISTS);
  const seen = biases + ((<usize>load<i32>(query, NUM_BIASED)) << 3);
  const end = seen + ((<usize>load<i32>(query, NUM_SEEN)) << 3);
  for (let at = biases; at < seen; at += 8) {
    const token = load<u32>(at);
    if (token >= <u32>vocab) continue;
    const to = out + ((<usize>token) << 2);
    store<f32>(to, min<f32>(load<f32>(to) + load<f32>(at, 4), LARGEST));
  }
  for (let at = seen; at < end; at += 8) penalise(query, load<u32>(at), load<i32>(at, 4), vocab, out);
}

@inline
function penalise(query: usize, token: u32, count: i32, vocab: i32, out: usize): void {
  if (token >= <u32>vocab) return;
  const to = out + ((<usize>token) << 2);
  let logit = load<f32>(to);
  // An impossible token stays so, whatever it is multiplied with.
  if (logit == -Infinity) return;
  const factor = load<f32>(query, REPETITION);
  logit = logit > 0 ? logit / factor : logit * factor;
  if (count > 0) logit = logit - load<f32>(query, FREQUENCY) * <f32>count - load<f32>(query, PRESENCE);
  store<f32>(to, min<f32>(logit, LARGEST));
}

/** Copies the logits of allowed tokens, and -∞ for the others; 32 tokens a word of the mask. */
function copyAllowed(mask: usize, logits: usize, bytes: usize, out: usize): void {
  const never = f32x4.splat(-Infinity);
  for (let i: usize = 0; i < bytes; i += 16) {
    const word = load<u32>(mask + ((i >> 7) << 2)) >> (<u32>((i >> 4) & 7) << 2);
    const bits = v128.and(i32x4.splat(word), i32x4(1, 2, 4, 8));
    const isAllowed = i32x4.ne(bits, i32x4.splat(0));
    v128.store(out + i, v128.bitselect(v128.load(logits + i), never, isAllowed));
  }
}

/** Replaces logits [vocab, padded to a multiple of 4] that are too far below the largest by -∞. */
export function dropUnlikely(query: usize, logits: usize, vocab: i32, largest: f32): void {
  const least = load<f64>(query, LEAST_GAP);
  if (least == -Infinity) return;
  const max = f64x2.splat(<f64>largest);
  const gap = f64x2.splat(least);
  const never = f32x4.splat(-Infinity);
  for (let i = 0; i < vocab; i += 4) {
    const at = logits + ((<usize>i) << 2);
    const v = v128.load(at);
    const low = f64x2.ge(f64x2.sub(f64x2.promote_low_f32x4(v), max), gap);
    const high = f64x2.ge(f64x2.sub(f64x2.promote_low_f32x4(v128.shuffle<i32>(v, v, 2, 3, 2, 3)), max), gap);
    v128.store(at, v128.bitselect(v, never, v128.shuffle<i32>(low, high, 0, 2, 4, 6)));
  }
}
