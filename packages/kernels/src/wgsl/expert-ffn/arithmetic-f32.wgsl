// Products of f32, always by fma, in an order that depends only on the column. Otherwise a compiler could contract separate
// operations in one tile size and not in the other.

// A step of 32 inputs: 8 vectors.
const INPUT_VECS = 8u;

struct Inputs {
  low: Four,
  high: Four,
}

// 32 weights in the order of columns, as multiples of their scale.
struct Weights {
  a: vec4<f32>,
  b: vec4<f32>,
  c: vec4<f32>,
  d: vec4<f32>,
  e: vec4<f32>,
  f: vec4<f32>,
  g: vec4<f32>,
  h: vec4<f32>,
  scale: f32,
}

alias Sum = vec4<f32>;

fn load_inputs(first: u32) -> Inputs {
  return Inputs(load_four(first), load_four(first + 4u));
}

fn add(sum: Sum, w: Weights, x: Inputs) -> Sum {
  var step = w.a * bitcast<vec4<f32>>(x.low.a);
  step = fma(w.b, bitcast<vec4<f32>>(x.low.b), step);
  step = fma(w.c, bitcast<vec4<f32>>(x.low.c), step);
  step = fma(w.d, bitcast<vec4<f32>>(x.low.d), step);
  step = fma(w.e, bitcast<vec4<f32>>(x.high.a), step);
  step = fma(w.f, bitcast<vec4<f32>>(x.high.b), step);
  step = fma(w.g, bitcast<vec4<f32>>(x.high.c), step);
  step = fma(w.h, bitcast<vec4<f32>>(x.high.d), step);
  return fma(vec4(w.scale), step, sum);
}

fn total(sum: Sum) -> f32 {
  return (sum.x + sum.y) + (sum.z + sum.w);
}
