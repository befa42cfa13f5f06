fn load_four(first: u32) -> Four {
  return Four(inputs[first], inputs[first + 1u], inputs[first + 2u], inputs[first + 3u]);
}
