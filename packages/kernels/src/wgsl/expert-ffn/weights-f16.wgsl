// f16 weights: one vector is 8 columns of one row; vectors lie [col_blocks][rows].
const BLOCK_VECS = 2u;

fn dot_row(values: u32, scales: u32, rows: u32, row: u32, blocks: u32, first_input: u32) -> f32 {
  var sum = 0.0;
  for (var block = 0u; block < blocks; block++) {
    let packed = slab[values + block * rows + row];
    let low = vec4(unpack2x16float(packed.x), unpack2x16float(packed.y));
    let high = vec4(unpack2x16float(packed.z), unpack2x16float(packed.w));
    let input = first_input + block * BLOCK_VECS;
    sum += dot(low, inputs[input]) + dot(high, inputs[input + 1u]);
  }
  return sum;
}
