// q4 weights: one vector is 32 codes of one row, weight = scale * (code - 8); columns 0-15 of a block lie in the low nibbles,
// 16-31 in the high ones. Vectors lie [col_blocks][rows], f16 scales [col_blocks][rows].
const BLOCK_COLS = 32u;

// The low nibble of each byte.
fn four_codes(word: u32) -> vec4<f32> {
  return vec4<f32>((vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(15u)) - vec4(8.0);
}

// `scales` is the vector at which a section of scales begins.
fn scale_of(scales: u32, index: u32) -> f32 {
  let pair = unpack2x16float(slab_words[scales * 4u + (index >> 1u)]);
  return select(pair.x, pair.y, (index & 1u) == 1u);
}

fn dot_sixteen(packed: vec4<u32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> f32 {
  return dot(four_codes(packed.x), a)
    + dot(four_codes(packed.y), b)
    + dot(four_codes(packed.z), c)
    + dot(four_codes(packed.w), d);
}

// 16 columns of (gate[row] . x, up[row] . x), unscaled: `x` is the vector of the halves they meet.
fn sixteen_gate_up(gate: vec4<u32>, up: vec4<u32>, x: u32) -> vec2<f32> {
  let first = hidden[x];
  let second = hidden[x + 1u];
  let a = vec4(unpack2x16float(first.x), unpack2x16float(first.y));
  let b = vec4(unpack2x16float(first.z), unpack2x16float(first.w));
  let c = vec4(unpack2x16float(second.x), unpack2x16float(second.y));
  let d = vec4(unpack2x16float(second.z), unpack2x16float(second.w));
  return vec2(dot_sixteen(gate, a, b, c, d), dot_sixteen(up, a, b, c, d));
}

// (gate[row] . x, up[row] . x) over one hidden row of halves: what is loaded and unpacked of x serves both.
fn dot_gate_up(shard: u32, row: u32, first_x: u32) -> vec2<f32> {
  var sums = vec2(0.0);
  for (var block = 0u; block < HIDDEN_BLOCKS; block++) {
    let index = block * INTERMEDIATE + row;
    let gate = slab[shard + GATE_VALUES + index];
    let up = slab[shard + UP_VALUES + index];
    let x = first_x + block * 4u;
    let block_sums = sixteen_gate_up(gate, up, x) + sixteen_gate_up(gate >> vec4(4u), up >> vec4(4u), x + 2u);
    sums += block_sums * vec2(scale_of(shard + GATE_SCALES, index), scale_of(shard + UP_SCALES, index));
  }
  return sums;
}

fn sixteen_down(packed: vec4<u32>, input: u32) -> f32 {
  return dot_sixteen(packed, activations[input], activations[input + 1u], activations[input + 2u], activations[input + 3u]);
}

// down[row] . activations
fn dot_down(shard: u32, row: u32, first_activation: u32) -> f32 {
  var sum = 0.0;
  for (var block = 0u; block < INTERMEDIATE_BLOCKS; block++) {
    let index = block * HIDDEN + row;
    let packed = slab[shard + DOWN_VALUES + index];
    let input = first_activation + block * 8u;
    let block_sum = sixteen_down(packed, input) + sixteen_down(packed >> vec4(4u), input + 4u);
    sum += block_sum * scale_of(shard + DOWN_SCALES, index);
  }
  return sum;
}
