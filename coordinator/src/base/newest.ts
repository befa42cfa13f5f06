/** Makes `key` the newest entry of a map, and drops the oldest entries beyond `maxEntries`. Returns the value. */
export function setNewest<K, V>(map: Map<K, V>, key: K, value: V, maxEntries: number): V {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= maxEntries) break;
    map.delete(oldest);
  }
  return value;
}
