// activations[assignment, f] = silu(gate[f] . x) * (up[f] . x): one thread per assignment and intermediate column.

@compute @workgroup_size(64)
fn gate_up(@builtin(global_invocation_id) thread: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  let f = thread.x;
  let assignment = group.z * MAX_DISPATCH + group.y;
  if (assignment >= lap[0].b || f >= INTERMEDIATE) {
    return;
  }
  let item = lap[1u + assignment];
  let sums = dot_gate_up(item.a * SHARD_VECS, f, item.b * HIDDEN_BLOCKS * BLOCK_COLS / 8u);
  // A row of activations is padded to whole column blocks. Nothing writes the padding, so it stays as WebGPU made it: zero.
  let target_index = assignment * INTERMEDIATE_BLOCKS * BLOCK_COLS + f;
  // exp(87) is the last that fits in f32, and WGSL leaves the result of an overflow open.
  outputs[target_index] = sums.x / (1.0 + exp(min(-sums.x, 87.0))) * sums.y;
}
