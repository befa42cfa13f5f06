  let index = parts[0].a + group.z * MAX_DISPATCH + group.y;
  if (index >= parts[0].b) {
    return;
  }
  $set_lane
  let tile = lap[index];
  let shard = tile.a * SHARD_VECS;
  let last = tile.c - 1u;
