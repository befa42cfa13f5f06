// What adapters add to gate and up, [num_slots, 2, INTERMEDIATE] (adapters.wgsl); `slot` is counted from 1, and 0 for none.
@group(0) @binding(6) var<storage, read> deltas: array<f32>;

fn delta(slot: u32, matrix: u32, f: u32) -> f32 {
  if (slot == 0u) {
    return 0.0;
  }
  return deltas[((slot - 1u) * 2u + matrix) * INTERMEDIATE + f];
}
