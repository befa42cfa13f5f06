// activations[place, f] = a(gate[f] . x + bias, up[f] . x + bias) with the kind's a: one thread per tile and intermediate column. A
// tile is some places of one expert, which share each load of its weights. $gated{...}$ is left out in kinds without a gate, $adapted{...}$ in laps without adapters.

@compute @workgroup_size(64)
fn gate_up(@builtin(global_invocation_id) thread: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>$lane) {
  $begin_tile
  // Threads beyond the last column repeat it, since all threads of a subgroup must take part in its broadcasts.
  let f = min(thread.x, INTERMEDIATE - 1u);
  let places = parts[0].assignments + tile.b;
  let x_$r = lap[places + min($ru, last)].a * HIDDEN_STEPS * INPUT_VECS;
  $gated{var gate_$r = Sum();}$
  var up_$r = Sum();
  for (var step = 0u; step < HIDDEN_STEPS; step++) {
    $gated{let gate = load_weights(shard + GATE_VALUES, shard + GATE_SCALES, INTERMEDIATE, f, HIDDEN_BLOCKS, step);}$
    let up = load_weights(shard + UP_VALUES, shard + UP_SCALES, INTERMEDIATE, f, HIDDEN_BLOCKS, step);
    { let x = load_inputs(x_$r + step * INPUT_VECS); $gated{gate_$r = add(gate_$r, gate, x);}$ up_$r = add(up_$r, up, x); }
  }
  if (thread.x >= INTERMEDIATE) {
    return;
  }
  // A row of activations is padded to whole steps. The padding is never written and stays zero, as WebGPU initialises it.
  let target_index = tile.b * INTERMEDIATE_STEPS * 32u + f;
  $gated{let gate_bias = bias_at(shard, GATE_BIAS, f);}$
  let up_bias = bias_at(shard, UP_BIAS, f);
  $adapted{let slot_$r = lap[places + min($ru, last)].added;}$
  $gated{let g_$r = total(gate_$r) + gate_bias$adapted{ + delta(slot_$r, 0u, f)}$;}$
  let u_$r = total(up_$r) + up_bias$adapted{ + delta(slot_$r, 1u, f)}$;
  if ($ru <= last) { outputs[target_index + $ru * INTERMEDIATE_STEPS * 32u] = $activate; }
}
