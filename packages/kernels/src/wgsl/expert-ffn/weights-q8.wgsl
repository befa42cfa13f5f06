// q8 weights: one vector is 16 int8 columns of one row, two vectors are a block of 32 with one f16 scale.
// Vectors lie [col_blocks][2][rows], scales [col_blocks][rows].
const BLOCK_COLS = 32u;

fn four_int8(word: u32) -> vec4<f32> {
  return vec4<f32>(bitcast<vec4<i32>>(vec4(word << 24u, word << 16u, word << 8u, word)) >> vec4(24u));
}

fn dot_sixteen(packed: vec4<u32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> f32 {
  return dot(four_int8(packed.x), a)
    + dot(four_int8(packed.y), b)
    + dot(four_int8(packed.z), c)
    + dot(four_int8(packed.w), d);
}

// `scales` is the vector at which a section of scales begins.
fn scale_of(scales: u32, index: u32) -> f32 {
  let pair = unpack2x16float(slab_words[scales * 4u + (index >> 1u)]);
  return select(pair.x, pair.y, (index & 1u) == 1u);
}

// 16 columns of (gate[row] . x, up[row] . x), unscaled: `at` is their vector in a section, `x` that of the halves they meet.
fn sixteen_gate_up(shard: u32, at: u32, x: u32) -> vec2<f32> {
  let first = hidden[x];
  let second = hidden[x + 1u];
  let a = vec4(unpack2x16float(first.x), unpack2x16float(first.y));
  let b = vec4(unpack2x16float(first.z), unpack2x16float(first.w));
  let c = vec4(unpack2x16float(second.x), unpack2x16float(second.y));
  let d = vec4(unpack2x16float(second.z), unpack2x16float(second.w));
  return vec2(
    dot_sixteen(slab[shard + GATE_VALUES + at], a, b, c, d),
    dot_sixteen(slab[shard + UP_VALUES + at], a, b, c, d),
  );
}

// (gate[row] . x, up[row] . x) over one hidden row of halves: what is loaded and unpacked of x serves both.
fn dot_gate_up(shard: u32, row: u32, first_x: u32) -> vec2<f32> {
  var sums = vec2(0.0);
  for (var block = 0u; block < HIDDEN_BLOCKS; block++) {
    let at = block * 2u * INTERMEDIATE + row;
    let x = first_x + block * 4u;
    let block_sums = sixteen_gate_up(shard, at, x) + sixteen_gate_up(shard, at + INTERMEDIATE, x + 2u);
    let index = block * INTERMEDIATE + row;
    sums += block_sums * vec2(scale_of(shard + GATE_SCALES, index), scale_of(shard + UP_SCALES, index));
  }
  return sums;
}

fn sixteen_down(at: u32, input: u32) -> f32 {
  return dot_sixteen(slab[at], activations[input], activations[input + 1u], activations[input + 2u], activations[input + 3u]);
}

// down[row] . activations
fn dot_down(shard: u32, row: u32, first_activation: u32) -> f32 {
  var sum = 0.0;
  for (var block = 0u; block < INTERMEDIATE_BLOCKS; block++) {
    let at = shard + DOWN_VALUES + block * 2u * HIDDEN + row;
    let input = first_activation + block * 8u;
    let block_sum = sixteen_down(at, input) + sixteen_down(at + HIDDEN, input + 4u);
    sum += block_sum * scale_of(shard + DOWN_SCALES, block * HIDDEN + row);
  }
  return sum;
}
