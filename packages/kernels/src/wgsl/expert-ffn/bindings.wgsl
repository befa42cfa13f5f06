// What both passes of expert-ffn share: one set of bindings, and the sizes of the model as constants of the pipeline.
// expert-ffn.ts sets the constants from the layout table of @shoal/weights; offsets are in 16-byte vectors within a shard.

override HIDDEN: u32;
override INTERMEDIATE: u32;
override SHARD_VECS: u32;
override GATE_VALUES: u32;
override GATE_SCALES: u32;
override UP_VALUES: u32;
override UP_SCALES: u32;
override DOWN_VALUES: u32;
override DOWN_SCALES: u32;
// Column blocks of gate and up, and of down.
override HIDDEN_BLOCKS: u32;
override INTERMEDIATE_BLOCKS: u32;
// Dispatch dimensions end at 65,535: what exceeds it goes on in z.
override MAX_DISPATCH: u32;

struct Item {
  // Of an assignment: its slot in the slab, its row, its weight's bits. Of a row: its first assignment, and the one after its last.
  a: u32,
  b: u32,
  c: u32,
  unused: u32,
}

// The same buffer twice: values are read as 16-byte vectors, scales as halves.
@group(0) @binding(0) var<storage, read> slab: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> slab_words: array<u32>;
// gate_up's input: halves, [num_rows], and down's: [num_assignments]; each padded with zeros to whole column blocks.
@group(0) @binding(2) var<storage, read> hidden: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> activations: array<vec4<f32>>;
// One header (a: num_rows, b: num_assignments), then the assignments, then the rows.
@group(0) @binding(3) var<storage, read> lap: array<Item>;
@group(0) @binding(4) var<storage, read_write> outputs: array<f32>;
