// partial[row, d] = sum over the row's assignments of weight * (down[d] . activations): one thread per row and hidden column,
// adding in the order of the assignments, so that a row's result never depends on the other rows.

@compute @workgroup_size(64)
fn down(@builtin(global_invocation_id) thread: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  let d = thread.x;
  let row = group.z * MAX_DISPATCH + group.y;
  if (row >= lap[0].a || d >= HIDDEN) {
    return;
  }
  let span = lap[1u + lap[0].b + row];
  var sum = 0.0;
  for (var assignment = span.a; assignment < span.b; assignment++) {
    let item = lap[1u + assignment];
    let y = dot_down(item.a * SHARD_VECS, d, assignment * INTERMEDIATE_BLOCKS * BLOCK_COLS / 4u);
    sum += bitcast<f32>(item.c) * y;
  }
  outputs[row * HIDDEN + d] = sum;
}
