// All threads of a subgroup meet the same inputs: each loads one vector of the four, and the first four tell theirs to all.
// A subgroup has at least four threads; of those beyond, each repeats another's load.
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
