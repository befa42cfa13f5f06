// See mxfp4-codes.wgsl.

fn load_weights(values: u32, scales: u32, rows: u32, row: u32, blocks: u32, step: u32) -> Weights {
  let index = step * rows + row;
  let codes = slab[values + index];
  let low = offset_elements(codes & vec4(0x0f0f0f0fu));
  let high = offset_elements((codes >> vec4(4u)) & vec4(0x0f0f0f0fu));
  let power = powers_at(scales, index);
  // One of the scale's factors is in the weights.
  let p = power.x;
  return Weights(
    four(low.x, p), four(low.y, p), four(low.z, p), four(low.w, p),
    four(high.x, p), four(high.y, p), four(high.z, p), four(high.w, p), power.y,
  );
}

fn four(word: u32, power: f32) -> vec4<f32> {
  return (vec4<f32>((vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u)) - vec4(32.0)) * power;
}
