// q8 weights: one vector is 16 int8 columns of one row, two vectors are a block of 32 with one f16 scale.
// Vectors lie [col_blocks][2][rows], scales [col_blocks][rows].
const BLOCK_VECS = 8u;

fn four_int8(word: u32) -> vec4<f32> {
  return vec4<f32>(bitcast<vec4<i32>>(vec4(word << 24u, word << 16u, word << 8u, word)) >> vec4(24u));
}

fn dot_sixteen(packed: vec4<u32>, input: u32) -> f32 {
  return dot(four_int8(packed.x), inputs[input])
    + dot(four_int8(packed.y), inputs[input + 1u])
    + dot(four_int8(packed.z), inputs[input + 2u])
    + dot(four_int8(packed.w), inputs[input + 3u]);
}

fn scale_of(scales: u32, index: u32) -> f32 {
  let pair = unpack2x16float(slab_words[scales * 4u + (index >> 1u)]);
  return select(pair.x, pair.y, (index & 1u) == 1u);
}

fn dot_row(values: u32, scales: u32, rows: u32, row: u32, blocks: u32, first_input: u32) -> f32 {
  var sum = 0.0;
  for (var block = 0u; block < blocks; block++) {
    let first = values + 2u * block * rows + row;
    let input = first_input + block * BLOCK_VECS;
    let block_sum = dot_sixteen(slab[first], input) + dot_sixteen(slab[first + rows], input + 4u);
    sum += block_sum * scale_of(scales, block * rows + row);
  }
  return sum;
}
