// What low-rank adapters add to products: y += B (A x). A row's adapter lies in the bank as a directory, an address for each
// matrix of each layer (0: nothing is added to it). There lie: rank, columns of A, columns of Bᵀ (both padded to four), where the
// scalings' numbers lie behind the pair (0: without them), then A [rank, columns] and Bᵀ [rank, columns], padded with zeros. In a
// mixture y += B (s ⊙ A x), where output k of A has the row's scaling of that number. packages/kernels/src/dense/adapter-space.ts writes them.
import { at, place, word } from './arguments';
import { sumLanes } from './primitives';

/** Outputs of one task. packages/kernels/src/dense/program.ts has the same. */
const OUT_COLUMNS: i32 = 512;

/** Where an entry of a row's adapter lies; 0 without one. */
@inline
export function pairOf(rows: usize, row: i32, entry: i32): usize {
  const directory = place(rows, row, 7);
  return directory ? <usize>load<u32>(directory + ((<usize>entry) << 2)) : 0;
}

@inline
function rankOf(pair: usize): i32 {
  return load<i32>(pair);
}

@inline
function matrixA(pair: usize): usize {
  return pair + 16;
}

@inline
function bytesA(pair: usize): usize {
  return (<usize>load<u32>(pair, 4)) << 2;
}

@inline
function matrixB(pair: usize): usize {
  return matrixA(pair) + <usize>rankOf(pair) * bytesA(pair);
}

@inline
function bytesB(pair: usize): usize {
  return (<usize>load<u32>(pair, 8)) << 2;
}

/** y += scale · B (A x); x [inDim], y [outDim], `inner` has room for the rank. */
export function addLowRank(pair: usize, scale: f32, x: usize, inDim: i32, y: usize, outDim: i32, inner: usize): void {
  const rank = rankOf(pair);
  for (let k = 0; k < rank; k++) {
    store<f32>(inner + ((<usize>k) << 2), scale * dot(x, matrixA(pair) + <usize>k * bytesA(pair), inDim));
  }
  addProducts(pair, inner, y, 0, outDim);
}

/** Σ x w over `dim` values, which need not be whole vectors. */
@inline
function dot(x: usize, w: usize, dim: i32): f32 {
  let sum = f32x4.splat(0);
  let i = 0;
  for (; i + 4 <= dim; i += 4) {
    const from = (<usize>i) << 2;
    sum = f32x4.add(sum, f32x4.mul(v128.load(x + from), v128.load(w + from)));
  }
  let total = sumLanes(sum);
  for (; i < dim; i++) total += load<f32>(x + ((<usize>i) << 2)) * load<f32>(w + ((<usize>i) << 2));
  return total;
}

/** y += factor × w over `dim` values. */
@inline
function addScaled(y: usize, w: usize, dim: i32, factor: f32): void {
  const f = f32x4.splat(factor);
  let i = 0;
  for (; i + 4 <= dim; i += 4) {
    const to = y + ((<usize>i) << 2);
    v128.store(to, f32x4.add(v128.load(to), f32x4.mul(v128.load(w + ((<usize>i) << 2)), f)));
  }
  for (; i < dim; i++) {
    const to = y + ((<usize>i) << 2);
    store<f32>(to, load<f32>(to) + load<f32>(w + ((<usize>i) << 2)) * factor);
  }
}

/**
 * A x of the rows with an adapter.
 * 4 rows, 5 entry, 6 x, 7 stride, 8 dim, 9 out, 10 stride, 11 tasks of a row. A task is every so many-th output of a row.
 */
export function adapterInTask(op: usize, task: i32): void {
  const parts = word(op, 11);
  const row = task / parts;
  const pair = pairOf(at(op, 4), row, word(op, 5));
  if (!pair) return;
  const x = at(op, 6) + <usize>row * at(op, 7);
  const out = at(op, 9) + <usize>row * at(op, 10);
  const rank = rankOf(pair);
  const numbers = <usize>load<u32>(pair, 12);
  if (numbers) return scaledIn(op, pair, pair + numbers, place(at(op, 4), row, 8), x, out, task % parts);
  for (let k = task % parts; k < rank; k += parts) {
    store<f32>(out + ((<usize>k) << 2), dot(x, matrixA(pair) + <usize>k * bytesA(pair), word(op, 8)));
  }
}

/** s ⊙ A x of one row, every so many-th output from `first` on. */
function scaledIn(op: usize, pair: usize, numbers: usize, scalings: usize, x: usize, out: usize, first: i32): void {
  const rank = rankOf(pair);
  for (let k = first; k < rank; k += word(op, 11)) {
    const offset = (<usize>k) << 2;
    const scaling = load<f32>(scalings + ((<usize>load<u32>(numbers + offset)) << 2));
    // Of a mixture with top-k, most are 0.
    const product: f32 = scaling == 0 ? 0 : scaling * dot(x, matrixA(pair) + <usize>k * bytesA(pair), word(op, 8));
    store<f32>(out + offset, product);
  }
}

/**
 * y += B (A x) of the rows with an adapter.
 * 4 rows, 5 entry, 6 A x, 7 stride, 8 y, 9 stride, 10 dim, 11 tasks of a row. A task is OUT_COLUMNS outputs of a row.
 */
export function adapterOutTask(op: usize, task: i32): void {
  const parts = word(op, 11);
  const row = task / parts;
  const pair = pairOf(at(op, 4), row, word(op, 5));
  if (!pair) return;
  const inner = at(op, 6) + <usize>row * at(op, 7);
  const first = (task % parts) * OUT_COLUMNS;
  const end = min(first + OUT_COLUMNS, word(op, 10));
  addProducts(pair, inner, at(op, 8) + <usize>row * at(op, 9), first, end);
}

/** y += B inner, for the outputs `first` to `end` (exclusive). */
function addProducts(pair: usize, inner: usize, y: usize, first: i32, end: i32): void {
  const b = matrixB(pair);
  const stride = bytesB(pair);
  const rank = rankOf(pair);
  let o = first;
  for (; o + 4 <= end; o += 4) {
    const from = (<usize>o) << 2;
    let sum = f32x4.splat(0);
    for (let k = 0; k < rank; k++) {
      const factor = v128.load32_splat(inner + ((<usize>k) << 2));
      sum = f32x4.add(sum, f32x4.mul(factor, v128.load(b + <usize>k * stride + from)));
    }
    v128.store(y + from, f32x4.add(v128.load(y + from), sum));
  }
  for (; o < end; o++) {
    const from = (<usize>o) << 2;
    let sum: f32 = 0;
    for (let k = 0; k < rank; k++) sum += load<f32>(inner + ((<usize>k) << 2)) * load<f32>(b + <usize>k * stride + from);
    store<f32>(y + from, load<f32>(y + from) + sum);
  }
}

/** q̃ += Aᵀ (B_UKᵀ q_nope), where B_UK begins with row `first` of B. */
export function addAbsorbed(pair: usize, q: usize, first: i32, nope: i32, out: usize): void {
  const columns = load<i32>(pair, 4);
  for (let k = 0; k < rankOf(pair); k++) {
    const inner = dot(q, matrixB(pair) + <usize>k * bytesB(pair) + ((<usize>first) << 2), nope);
    // A's padding is 0, and so is that of the latent.
    addScaled(out, matrixA(pair) + <usize>k * bytesA(pair), columns, inner);
  }
}

/** v += B_UV (A c), where B_UV begins with row `first` of B. */
export function addValues(pair: usize, latent: usize, first: i32, dim: i32, out: usize): void {
  const columns = load<i32>(pair, 4);
  for (let k = 0; k < rankOf(pair); k++) {
    const inner = dot(latent, matrixA(pair) + <usize>k * bytesA(pair), columns);
    addScaled(out, matrixB(pair) + <usize>k * bytesB(pair) + ((<usize>first) << 2), dim, inner);
  }
}
