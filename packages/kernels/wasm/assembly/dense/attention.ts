// Softmax attention of a few queries over the paged cache, block by block with a running maximum (Milakov and Gimelshein
// 2018). Blocks are the cache's pages, so a query's sums have one order whatever rows it shares a tile with.
import { POSITIONS } from './cache';
import { exp1, exp4, maxLanes, sumLanes } from './primitives';

/** A query's running state: greatest score, Σ e^(score − greatest), then the values' sum with these weights [valueDim]. */
const STATE_HEADER: usize = 16;

@inline
export function stateBytes(valueDim: i32): usize {
  return STATE_HEADER + ((<usize>valueDim) << 2);
}

export function openState(state: usize, valueDim: i32): void {
  store<f32>(state, -Infinity);
  store<f32>(state, 0, 4);
  memory.fill(state + STATE_HEADER, 0, (<usize>valueDim) << 2);
}

/** A state whose softmax has one more logit, which has no value (gpt-oss's attention sink). */
export function openStateWithSink(state: usize, valueDim: i32, sink: f32): void {
  openState(state, valueDim);
  store<f32>(state, sink);
  store<f32>(state, 1, 4);
}

/** The weighted values, valid after `closeState`. */
@inline
export function stateValues(state: usize): usize {
  return state + STATE_HEADER;
}

/** Divides the values by the sum of weights. */
export function closeState(state: usize, valueDim: i32): void {
  const inverse = f32x4.splat(1 / load<f32>(state, 4));
  for (let i = 0; i < valueDim; i += 4) {
    const at = state + STATE_HEADER + ((<usize>i) << 2);
    v128.store(at, f32x4.mul(v128.load(at), inverse));
  }
}

/**
 * Adds the first `count` positions of a block to the state of a query [keyDim]. Dimensions are multiples of 4 (padded with zeros).
 * `scores` has room for POSITIONS values. Positions behind `count`, up to the next multiple of 4, are read, but count for nothing.
 * `biases` [POSITIONS] are added to the scores; 0: none.
 */
export function attendBlock(
  q: usize,
  keyDim: i32,
  valueDim: i32,
  keys: usize,
  values: usize,
  stride: usize,
  count: i32,
  scale: f32,
  state: usize,
  scores: usize,
  biases: usize,
): void {
  for (let t = 0; t < count; t += 4) {
    const at = scores + ((<usize>t) << 2);
    scoreFour(q, keyDim, keys + <usize>t * stride, stride, scale, at);
    if (biases) v128.store(at, f32x4.add(v128.load(at), v128.load(biases + ((<usize>t) << 2))));
  }
  for (let t = count; t < POSITIONS; t++) store<f32>(scores + ((<usize>t) << 2), -Infinity);
  const before = load<f32>(state);
  const top = max<f32>(
    before,
    maxLanes(
      f32x4.max(
        f32x4.max(v128.load(scores), v128.load(scores, 16)),
        f32x4.max(v128.load(scores, 32), v128.load(scores, 48)),
      ),
    ),
  );
  const shrink = exp1(before - top);
  let sum = f32x4.splat(0);
  for (let t = 0; t < POSITIONS; t += 4) {
    const at = scores + ((<usize>t) << 2);
    const p = exp4(f32x4.sub(v128.load(at), f32x4.splat(top)));
    v128.store(at, p);
    if (count - t >= 4) sum = f32x4.add(sum, p);
    else {
      for (let i = max(count, t); i < t + 4; i++) store<f32>(scores + ((<usize>i) << 2), 0);
      sum = f32x4.add(sum, v128.load(at));
    }
  }
  store<f32>(state, top);
  store<f32>(state, load<f32>(state, 4) * shrink + sumLanes(sum), 4);
  addValues(state + STATE_HEADER, valueDim, values, stride, count, shrink, scores);
}

@inline
function scoreFour(q: usize, dim: i32, k: usize, stride: usize, scale: f32, out: usize): void {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let c = f32x4.splat(0);
  let d = f32x4.splat(0);
  const k1 = k + stride;
  const k2 = k1 + stride;
  const k3 = k2 + stride;
  const end = (<usize>dim) << 2;
  for (let i: usize = 0; i < end; i += 16) {
    const v = v128.load(q + i);
    a = f32x4.add(a, f32x4.mul(v128.load(k + i), v));
    b = f32x4.add(b, f32x4.mul(v128.load(k1 + i), v));
    c = f32x4.add(c, f32x4.mul(v128.load(k2 + i), v));
    d = f32x4.add(d, f32x4.mul(v128.load(k3 + i), v));
  }
  store<f32>(out, sumLanes(a) * scale);
  store<f32>(out, sumLanes(b) * scale, 4);
  store<f32>(out, sumLanes(c) * scale, 8);
  store<f32>(out, sumLanes(d) * scale, 12);
}

/** sum = sum × shrink + Σ_t p_t v_t, in order of t, with 32 values at a time in registers. */
@inline
function addValues(sum: usize, dim: i32, values: usize, stride: usize, count: i32, shrink: f32, p: usize): void {
  const s = f32x4.splat(shrink);
  let i = 0;
  for (; i + 31 < dim; i += 32) {
    const at = sum + ((<usize>i) << 2);
    let a = f32x4.mul(v128.load(at), s);
    let b = f32x4.mul(v128.load(at, 16), s);
    let c = f32x4.mul(v128.load(at, 32), s);
    let d = f32x4.mul(v128.load(at, 48), s);
    let e = f32x4.mul(v128.load(at, 64), s);
    let f = f32x4.mul(v128.load(at, 80), s);
    let g = f32x4.mul(v128.load(at, 96), s);
    let h = f32x4.mul(v128.load(at, 112), s);
    let v = values + ((<usize>i) << 2);
    for (let t = 0; t < count; t++) {
      const w = v128.load32_splat(p + ((<usize>t) << 2));
      a = f32x4.add(a, f32x4.mul(v128.load(v), w));
      b = f32x4.add(b, f32x4.mul(v128.load(v, 16), w));
      c = f32x4.add(c, f32x4.mul(v128.load(v, 32), w));
      d = f32x4.add(d, f32x4.mul(v128.load(v, 48), w));
      e = f32x4.add(e, f32x4.mul(v128.load(v, 64), w));
      f = f32x4.add(f, f32x4.mul(v128.load(v, 80), w));
      g = f32x4.add(g, f32x4.mul(v128.load(v, 96), w));
      h = f32x4.add(h, f32x4.mul(v128.load(v, 112), w));
      v += stride;
    }
    v128.store(at, a);
    v128.store(at, b, 16);
    v128.store(at, c, 32);
    v128.store(at, d, 48);
    v128.store(at, e, 64);
    v128.store(at, f, 80);
    v128.store(at, g, 96);
    v128.store(at, h, 112);
  }
  for (; i < dim; i += 4) {
    const at = sum + ((<usize>i) << 2);
    let a = f32x4.mul(v128.load(at), s);
    let v = values + ((<usize>i) << 2);
    for (let t = 0; t < count; t++) {
      a = f32x4.add(a, f32x4.mul(v128.load(v), v128.load32_splat(p + ((<usize>t) << 2))));
      v += stride;
    }
    v128.store(at, a);
  }
}
