// f16 weights: one vector is 8 columns of one row; vectors lie [col_blocks][rows].
const BLOCK_COLS = 8u;

fn low_four(packed: vec4<u32>) -> vec4<f32> {
  return vec4(unpack2x16float(packed.x), unpack2x16float(packed.y));
}

fn high_four(packed: vec4<u32>) -> vec4<f32> {
  return vec4(unpack2x16float(packed.z), unpack2x16float(packed.w));
}

// (gate[row] . x, up[row] . x) over one hidden row of halves: what is loaded and unpacked of x serves both.
fn dot_gate_up(shard: u32, row: u32, first_x: u32) -> vec2<f32> {
  var sums = vec2(0.0);
  for (var block = 0u; block < HIDDEN_BLOCKS; block++) {
    let x = hidden[first_x + block];
    let x_low = low_four(x);
    let x_high = high_four(x);
    let at = shard + block * INTERMEDIATE + row;
    let gate = slab[GATE_VALUES + at];
    let up = slab[UP_VALUES + at];
    sums += vec2(
      dot(low_four(gate), x_low) + dot(high_four(gate), x_high),
      dot(low_four(up), x_low) + dot(high_four(up), x_high),
    );
  }
  return sums;
}

// down[row] . activations
fn dot_down(shard: u32, row: u32, first_activation: u32) -> f32 {
  var sum = 0.0;
  for (var block = 0u; block < INTERMEDIATE_BLOCKS; block++) {
    let packed = slab[shard + DOWN_VALUES + block * HIDDEN + row];
    let input = first_activation + block * 2u;
    sum += dot(low_four(packed), activations[input]) + dot(high_four(packed), activations[input + 1u]);
  }
  return sum;
}
