// q8 weights: one vector is 16 int8 columns of one row, two vectors are a block of 32 with one f16 scale.
// Vectors are [col_blocks][2][rows], scales [col_blocks][rows].

const CODE_OFFSET = 0;

fn load_weights(values: u32, scales: u32, rows: u32, row: u32, blocks: u32, step: u32) -> Weights {
  let at = values + 2u * step * rows + row;
  return Weights(slab[at], slab[at + rows], scale_at(scales, step * rows + row), 1.0);
}
