// q8 weights: one vector is 16 int8 columns of one row, two vectors are a block of 32 with one f16 scale.
// Vectors are [col_blocks][2][rows], scales [col_blocks][rows].

fn load_weights(values: u32, scales: u32, rows: u32, row: u32, blocks: u32, step: u32) -> Weights {
  let at = values + 2u * step * rows + row;
  let low = slab[at];
  let high = slab[at + rows];
  let scale = scale_at(scales, step * rows + row);
  return Weights(
    four(low.x), four(low.y), four(low.z), four(low.w), four(high.x), four(high.y), four(high.z), four(high.w), scale,
  );
}

fn four(word: u32) -> vec4<f32> {
  return vec4<f32>(bitcast<vec4<i32>>(vec4(word) << vec4(24u, 16u, 8u, 0u)) >> vec4(24u));
}
