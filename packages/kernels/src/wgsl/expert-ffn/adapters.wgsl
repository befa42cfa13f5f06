// What adapters add to a lap's products: y += sum of scale * B (A x) over an assignment's adapters. A slot is an assignment that
// has adapters, an entry one adapter of a slot. Both passes read low-rank shards as packages/weights/src/adapter-shard.ts writes
// them; offsets there are in bytes, indices here in words.

override HIDDEN: u32;
override INTERMEDIATE: u32;
override MAX_DISPATCH: u32;

// One dispatch: a matrix (0 gate, 1 up, 2 down) of all slots.
struct Params {
  matrix: u32,
  num_slots: u32,
  num_entries: u32,
  // Indices of the first slot and of the first entry among the items.
  slots: u32,
  entries: u32,
  // Floats of a row of x, and of an entry's A x.
  x_stride: u32,
  inner_stride: u32,
  unused: u32,
}

@group(0) @binding(0) var<storage, read> pool: array<u32>;
// The rows of the lap, or for down the activations by place; padded with zeros to whole steps of 32.
@group(0) @binding(1) var<storage, read> x: array<f32>;
// A slot: its first entry, the one after its last, its place, its row. An entry: its shard in the pool, its slot, and the bits of
// the scales of gate, up and down; 8 words.
@group(0) @binding(2) var<storage, read> items: array<u32>;
@group(0) @binding(3) var<storage, read> params: array<Params>;
// [num_entries, inner_stride]: scale * A x
@group(0) @binding(4) var<storage, read_write> inner: array<f32>;
// [num_slots, 2, INTERMEDIATE] of gate and up; for down the products, [num_places, HIDDEN]
@group(0) @binding(5) var<storage, read_write> outputs: array<f32>;

var<workgroup> sums: array<f32, 64>;

// inner = scale * A x: one workgroup for each row of an entry's A. It adds in an order that depends only on the column.
@compute @workgroup_size(64)
fn adapt_in(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let p = params[0];
  let entry = group.z * MAX_DISPATCH + group.y;
  if (entry >= p.num_entries) {
    return;
  }
  let item = p.entries + entry * 8u;
  let shard = items[item];
  let offset = pool[shard + p.matrix];
  if (offset == 0u) {
    return;
  }
  let pair = shard + offset / 4u;
  let k = group.x;
  if (k >= pool[pair]) {
    return;
  }
  let columns = pool[pair + 1u];
  let slot = p.slots + items[item + 1u] * 4u;
  let start = select(items[slot + 3u], items[slot + 2u], p.matrix == 2u) * p.x_stride;
  let first = pair + 4u + k * columns;
  var sum = 0.0;
  for (var i = lane; i < columns; i += 64u) {
    sum = fma(x[start + i], bitcast<f32>(pool[first + i]), sum);
  }
  sums[lane] = sum;
  for (var half = 32u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (lane < half) {
      sums[lane] += sums[lane + half];
    }
  }
  if (lane == 0u) {
    inner[entry * p.inner_stride + k] = bitcast<f32>(items[item + 2u + p.matrix]) * sums[0];
  }
}

// outputs += B inner, for gate and up alone: one thread for each slot and output.
@compute @workgroup_size(64)
fn adapt_out(@builtin(global_invocation_id) thread: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  let p = params[0];
  let slot = group.z * MAX_DISPATCH + group.y;
  let o = thread.x;
  if (slot >= p.num_slots || o >= select(INTERMEDIATE, HIDDEN, p.matrix == 2u)) {
    return;
  }
  let item = p.slots + slot * 4u;
  var sum = 0.0;
  for (var entry = items[item]; entry < items[item + 1u]; entry++) {
    let shard = items[p.entries + entry * 8u];
    let offset = pool[shard + p.matrix];
    if (offset != 0u) {
      let pair = shard + offset / 4u;
      let rank = pool[pair];
      let rows = pool[pair + 2u];
      let first = pair + 4u + rank * pool[pair + 1u] + o;
      for (var k = 0u; k < rank; k++) {
        sum = fma(inner[entry * p.inner_stride + k], bitcast<f32>(pool[first + k * rows]), sum);
      }
    }
  }
  if (p.matrix == 2u) {
    outputs[items[item + 2u] * HIDDEN + o] += sum;
  } else {
    outputs[(slot * 2u + p.matrix) * INTERMEDIATE + o] = sum;
  }
}
