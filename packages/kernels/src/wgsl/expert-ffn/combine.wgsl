// partial[row, d] = sum over the row's assignments of weight * product: one thread per row and hidden column. It adds in the
// order of the assignments, so that a row's result never depends on the other rows.

@compute @workgroup_size(64)
fn combine(@builtin(global_invocation_id) thread: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  let d = thread.x;
  let row = group.z * MAX_DISPATCH + group.y;
  if (row >= parts[0].b || d >= HIDDEN) {
    return;
  }
  let span = lap[parts[0].rows + row];
  var sum = 0.0;
  for (var assignment = span.a; assignment < span.b; assignment++) {
    let item = lap[parts[0].assignments + assignment];
    sum = fma(bitcast<f32>(item.c), input_floats[item.b * HIDDEN + d], sum);
  }
  outputs[row * HIDDEN + d] = sum;
}
