// mxfp4 weights: one vector is 32 codes (E2M1) of one row; columns 0-15 of a block lie in the low nibbles, 16-31 in the high ones.
// Vectors are [col_blocks][rows], scales [col_blocks][rows] bytes (E8M0): weight = element * 2^(byte - 127).

// Twice the element of the code in each byte's low nibble, plus 32: a number from 20 to 44 in each byte. The doubled magnitudes 0,
// 1, 2, 3, 4, 6, 8, 12 are the codes 0 to 7, plus their low two bits from 4 on, plus 2 at 7.
fn offset_elements(codes: vec4<u32>) -> vec4<u32> {
  let ones = vec4(0x01010101u);
  let steps = codes & (((codes >> vec4(2u)) & ones) * 3u);
  let largest = steps & (steps >> vec4(1u)) & ones;
  let doubled = (codes & vec4(0x07070707u)) + steps + largest * 2u;
  // Subtracted where the code's highest bit is set: (31 - n) + 1 is 32 - n, without a borrow between bytes.
  let negative = ((codes >> vec4(3u)) & ones) * 31u;
  return (doubled ^ negative) + (vec4(0x20202020u) - negative);
}

// Two factors of 2^(byte - 128), since the exponents of f32 do not go down to -128. `scales` is the index of the section's first
// vector.
fn powers_at(scales: u32, index: u32) -> vec2<f32> {
  let code = (slab_words[scales * 4u + (index >> 2u)] >> ((index & 3u) * 8u)) & 255u;
  let half = code >> 1u;
  return bitcast<vec2<f32>>((vec2(half, code - half) + vec2(63u)) << vec2(23u));
}
