// f16 weights: one vector is 8 columns of one row; vectors are [col_blocks][rows].

fn load_weights(values: u32, scales: u32, rows: u32, row: u32, blocks: u32, step: u32) -> Weights {
  let first = step * 4u;
  let at = values + first * rows + row;
  let p = slab[at];
  // The last step may have fewer blocks, behind which other data follow.
  var q = vec4(0u);
  var r = vec4(0u);
  var s = vec4(0u);
  if (first + 1u < blocks) {
    q = slab[at + rows];
  }
  if (first + 2u < blocks) {
    r = slab[at + 2u * rows];
  }
  if (first + 3u < blocks) {
    s = slab[at + 3u * rows];
  }
  return Weights(halves(p.xy), halves(p.zw), halves(q.xy), halves(q.zw), halves(r.xy), halves(r.zw), halves(s.xy), halves(s.zw), 1.0);
}

fn halves(packed: vec2<u32>) -> vec4<f32> {
  return vec4(unpack2x16float(packed.x), unpack2x16float(packed.y));
}
