// What experts make of gate and up, by kind: EXPERT_ACTIVATIONS in packages/model/src/expert.ts. variants.ts puts a call in place
// of $activate.

// x times the sigmoid of z. exp(87) is about the largest that fits in f32, and WGSL does not define the result of an overflow.
fn times_sigmoid(x: f32, z: f32) -> f32 {
  return x / (1.0 + exp(min(-z, 87.0)));
}

// clamp() may turn NaN into a number; it is told by its bits, since a compiler may assume that there is none.
fn clip(x: f32, low: f32, high: f32) -> f32 {
  let is_nan = (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
  return select(clamp(x, low, high), x, is_nan);
}

fn swiglu(gate: f32, up: f32) -> f32 {
  return times_sigmoid(gate, gate) * up;
}

fn clamped_swiglu(gate: f32, up: f32) -> f32 {
  let cut = clip(gate, -3e38, 7.0);
  return (clip(up, -7.0, 7.0) + 1.0) * times_sigmoid(cut, 1.702 * cut);
}

// (1 + tanh(z)) / 2 is the sigmoid of 2 z, with z = sqrt(2 / pi) (gate + 0.044715 gate^3), which stays within f32 up to 1e12.
fn geglu(gate: f32, up: f32) -> f32 {
  let bounded = clip(gate, -1e12, 1e12);
  return times_sigmoid(gate, 1.5957691216057308 * (bounded + 0.044715 * bounded * bounded * bounded)) * up;
}

fn relu(up: f32) -> f32 {
  return clip(up, 0.0, 3.4e38);
}

fn relu2(up: f32) -> f32 {
  let positive = relu(up);
  return positive * positive;
}

// With the error function as a quotient of polynomials up to 4, from where on it is 1 in f32 (the coefficients of Eigen's
// generic_fast_erf_float); off by at most 4.2e-7.
fn gelu(up: f32) -> f32 {
  let x = clip(up * 0.7071067811865476, -4.0, 4.0);
  let s = x * x;
  var p = -2.72614225801306e-10 * s + 2.77068142495902e-8;
  p = p * s - 2.10102402082508e-6;
  p = p * s - 5.69250639462346e-5;
  p = p * s - 7.34990630326855e-4;
  p = p * s - 2.95459980854025e-3;
  p = p * s - 1.60960333262415e-2;
  var q = -1.45660718464996e-5 * s - 2.13374055278905e-4;
  q = q * s - 1.68282697438203e-3;
  q = q * s - 7.37332916720468e-3;
  q = q * s - 1.42647390514189e-2;
  return 0.5 * up * (1.0 + x * p / q);
}
