// All threads of a subgroup need the same inputs: each loads one of the four vectors, and the first four broadcast theirs.
// A subgroup has at least four threads; each further one repeats another's load.
var<private> lane: u32;

fn load_four(first: u32) -> Four {
  let mine = inputs[first + (lane & 3u)];
  return Four(
    subgroupBroadcast(mine, 0u),
    subgroupBroadcast(mine, 1u),
    subgroupBroadcast(mine, 2u),
    subgroupBroadcast(mine, 3u),
  );
}
