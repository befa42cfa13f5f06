// Quantises inputs for arithmetic-int8.wgsl: one thread per step of 32 inputs, counted over all rows.

@compute @workgroup_size(64)
fn quantise(@builtin(global_invocation_id) thread: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  let step = group.z * MAX_DISPATCH * 64u + group.y * 64u + thread.x;
  if (step >= parts[0].b) {
    return;
  }
  var largest = vec4(0.0);
  // Tested by bits, since a compiler may assume that there is no NaN.
  var is_finite = true;
  for (var i = 0u; i < 8u; i++) {
    let bits = inputs[step * 8u + i];
    largest = max(largest, abs(bitcast<vec4<f32>>(bits)));
    is_finite = is_finite && all((bits & vec4(0x7f800000u)) != vec4(0x7f800000u));
  }
  let magnitude = max(max(largest.x, largest.y), max(largest.z, largest.w));
  // A smaller magnitude would have a subnormal scale, which a GPU may flush to zero.
  let is_zero = magnitude < 1e-30;
  let scale = select(magnitude / 32512.0, 0.0, is_zero);
  let inverse = select(32512.0 / magnitude, 0.0, is_zero);
  var sum = vec4(0);
  for (var half = 0u; half < 2u; half++) {
    var high: vec4<u32>;
    var low: vec4<u32>;
    for (var i = 0u; i < 4u; i++) {
      let values = vec4<i32>(round(bitcast<vec4<f32>>(inputs[step * 8u + half * 4u + i]) * inverse));
      let high_bytes = (values + 128) >> vec4(8u);
      sum += values;
      high[i] = pack4xI8(high_bytes);
      low[i] = pack4xI8(values - high_bytes * 256);
    }
    output_vectors[step * 5u + half] = high;
    output_vectors[step * 5u + 2u + half] = low;
  }
  let eight_sums = 8 * (sum.x + sum.y + sum.z + sum.w);
  // NaN and infinity give NaN.
  let scale_bits = select(0x7fc00000u, bitcast<u32>(scale), is_finite);
  output_vectors[step * 5u + 4u] = vec4(scale_bits, bitcast<u32>(eight_sums), 0u, 0u);
}
