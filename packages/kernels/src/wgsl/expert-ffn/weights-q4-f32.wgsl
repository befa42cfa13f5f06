// q4 weights: one vector is 32 codes of one row, weight = scale * (code - 8); columns 0-15 of a block lie in the low nibbles,
// 16-31 in the high ones. Vectors are [col_blocks][rows], f16 scales [col_blocks][rows].

fn load_weights(values: u32, scales: u32, rows: u32, row: u32, blocks: u32, step: u32) -> Weights {
  let index = step * rows + row;
  let low = slab[values + index];
  let high = low >> vec4(4u);
  let scale = scale_at(scales, index);
  return Weights(
    four(low.x), four(low.y), four(low.z), four(low.w), four(high.x), four(high.y), four(high.z), four(high.w), scale,
  );
}

// The low nibble of each byte.
fn four(word: u32) -> vec4<f32> {
  return vec4<f32>((vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(15u)) - vec4(8.0);
}
