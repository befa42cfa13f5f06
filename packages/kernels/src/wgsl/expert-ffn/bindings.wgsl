// Shared by all passes of expert-ffn: one set of bindings, and the sizes of the model as constants of the pipeline.
// variants.ts sets the constants from the layout table of @shoal/weights; offsets are in 16-byte vectors within a shard.
// Columns are processed in steps of 32, and inputs are padded with zeros to whole steps.
//
// In the passes a line with $r is repeated for each row of the tile, r = 0, 1, ..., and $begin_tile is begin-tile.wgsl.

override HIDDEN: u32;
override INTERMEDIATE: u32;
override SHARD_VECS: u32;
override GATE_VALUES: u32;
override GATE_SCALES: u32;
override UP_VALUES: u32;
override UP_SCALES: u32;
override DOWN_VALUES: u32;
override DOWN_SCALES: u32;
// Of the biases; 0 without, since no bias begins there.
override GATE_BIAS: u32;
override UP_BIAS: u32;
override DOWN_BIAS: u32;
// The format's column blocks of gate and up, and of down.
override HIDDEN_BLOCKS: u32;
override INTERMEDIATE_BLOCKS: u32;
// Steps of 32 columns, likewise.
override HIDDEN_STEPS: u32;
override INTERMEDIATE_STEPS: u32;
// Largest dispatch dimension, 65,535. Further rows or tiles continue in z.
override MAX_DISPATCH: u32;

// By index i, counted from the start of the lap's items:
//   tile i: a: slot of its expert in the slab, b: its first place, c: number of places.
//   assignment i: a: the row at place i, where places are assignments sorted by expert; b: the place of assignment i;
//     c: the bits of its weight; added: in laps with adapters, what they add to place i (gate-up-added.wgsl).
//   row i: a: its first assignment, b: the one after its last.
struct Item {
  a: u32,
  b: u32,
  c: u32,
  added: u32,
}

// A dispatch's part of the lap: [a, b) of the tiles, or of whatever else a pass counts, and the indices among the items of
// the first assignment and the first row.
struct Part {
  a: u32,
  b: u32,
  assignments: u32,
  rows: u32,
}

// The same buffer twice, for values as 16-byte vectors, and for scales and biases.
@group(0) @binding(0) var<storage, read> slab: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> slab_words: array<u32>;
// Vectors of f32, or of quantise.wgsl's output; in combine [num_places, HIDDEN].
@group(0) @binding(2) var<storage, read> inputs: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> input_floats: array<f32>;
@group(0) @binding(3) var<storage, read> lap: array<Item>;
@group(0) @binding(4) var<storage, read> parts: array<Part>;
@group(0) @binding(5) var<storage, read_write> outputs: array<f32>;
@group(0) @binding(5) var<storage, read_write> output_vectors: array<vec4<u32>>;

// Four consecutive vectors of the inputs.
struct Four {
  a: vec4<u32>,
  b: vec4<u32>,
  c: vec4<u32>,
  d: vec4<u32>,
}

// `scales` is the index of a section's first vector.
fn scale_at(scales: u32, index: u32) -> f32 {
  let pair = unpack2x16float(slab_words[scales * 4u + (index >> 1u)]);
  return select(pair.x, pair.y, (index & 1u) == 1u);
}

// `shard` and `section` are indices of vectors.
fn bias_at(shard: u32, section: u32, index: u32) -> f32 {
  if (section == 0u) {
    return 0.0;
  }
  return bitcast<f32>(slab_words[(shard + section) * 4u + index]);
}
