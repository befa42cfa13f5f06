// products[place, d] = down[d] . activations[place] + bias: one thread per tile and hidden column.

@compute @workgroup_size(64)
fn down(@builtin(global_invocation_id) thread: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>$lane) {
  $begin_tile
  let d = min(thread.x, HIDDEN - 1u);
  let x_$r = (tile.b + min($ru, last)) * INTERMEDIATE_STEPS * INPUT_VECS;
  var sum_$r = Sum();
  for (var step = 0u; step < INTERMEDIATE_STEPS; step++) {
    let weights = load_weights(shard + DOWN_VALUES, shard + DOWN_SCALES, HIDDEN, d, INTERMEDIATE_BLOCKS, step);
    sum_$r = add(sum_$r, weights, load_inputs(x_$r + step * INPUT_VECS));
  }
  if (thread.x >= HIDDEN) {
    return;
  }
  let bias = bias_at(shard, DOWN_BIAS, d);
  if ($ru <= last) { outputs[(tile.b + $ru) * HIDDEN + d] = total(sum_$r) + bias; }
}
