// q4 weights: one vector is 32 codes of one row, weight = scale * (code - 8); columns 0-15 of a block lie in the low nibbles,
// 16-31 in the high ones. Vectors are [col_blocks][rows], f16 scales [col_blocks][rows].

// The codes are multiplied unchanged; 8 times the inputs' sum is subtracted afterwards.
const CODE_OFFSET = 1;

fn load_weights(values: u32, scales: u32, rows: u32, row: u32, blocks: u32, step: u32) -> Weights {
  let index = step * rows + row;
  let codes = slab[values + index];
  return Weights(codes & vec4(0x0f0f0f0fu), (codes >> vec4(4u)) & vec4(0x0f0f0f0fu), scale_at(scales, index), 1.0);
}
