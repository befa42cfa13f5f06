// Integer dot products. Inputs are 16-bit with one scale for 32 of them, in two planes of int8 (value = 256 * high + low), so
// that four products take two instructions, a step's sum is exact, and inputs lose at most 2^-16 of the largest of the 32.

// A step of 32 inputs: 32 high bytes, 32 low bytes, and (bits of the scale, 8 times the sum of the values, 0, 0).
const INPUT_VECS = 5u;

struct Inputs {
  planes: Four,
  scale: f32,
  eight_sums: i32,
}

// 32 weights in the order of columns, four per word, as int8 multiples of scale * power, plus 8 * CODE_OFFSET. Two factors, since
// the scales of mxfp4 are beyond f32.
struct Weights {
  low: vec4<u32>,
  high: vec4<u32>,
  scale: f32,
  power: f32,
}

alias Sum = f32;

fn load_inputs(first: u32) -> Inputs {
  let tail = inputs[first + 4u];
  return Inputs(load_four(first), bitcast<f32>(tail.x), bitcast<i32>(tail.y));
}

fn dot_words(w: vec4<u32>, x: vec4<u32>) -> i32 {
  return (dot4I8Packed(w.x, x.x) + dot4I8Packed(w.y, x.y)) + (dot4I8Packed(w.z, x.z) + dot4I8Packed(w.w, x.w));
}

fn add(sum: Sum, w: Weights, x: Inputs) -> Sum {
  let high = dot_words(w.low, x.planes.a) + dot_words(w.high, x.planes.b);
  let low = dot_words(w.low, x.planes.c) + dot_words(w.high, x.planes.d);
  let step = high * 256 + low - CODE_OFFSET * x.eight_sums;
  return fma(w.scale * x.scale, f32(step) * w.power, sum);
}

fn total(sum: Sum) -> f32 {
  return sum;
}
