// See mxfp4-codes.wgsl.

// 32 is added to each element; 4 times 8 times the inputs' sum is subtracted afterwards.
const CODE_OFFSET = 4;

fn load_weights(values: u32, scales: u32, rows: u32, row: u32, blocks: u32, step: u32) -> Weights {
  let index = step * rows + row;
  let codes = slab[values + index];
  let power = powers_at(scales, index);
  let low = offset_elements(codes & vec4(0x0f0f0f0fu));
  let high = offset_elements((codes >> vec4(4u)) & vec4(0x0f0f0f0fu));
  return Weights(low, high, power.x, power.y);
}
