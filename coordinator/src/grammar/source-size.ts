/** Nesting at which a value counts as endless: a schema this deep is refused anyway, and JSON.stringify would overflow. */
const MAX_DEPTH = 256;

/** About the length of a value as JSON, which is not counted on beyond `most`. */
export function sourceBytes(value: unknown, most: number): number {
  let bytes = 0;
  const open: { value: unknown; depth: number }[] = [{ value, depth: 0 }];
  for (let entry = open.pop(); entry && bytes <= most; entry = open.pop()) {
    bytes += 8;
    if (typeof entry.value === 'string') bytes += Buffer.byteLength(entry.value);
    if (typeof entry.value !== 'object' || entry.value === null) continue;
    if (entry.depth > MAX_DEPTH) return Infinity;
    for (const [key, member] of Object.entries(entry.value)) {
      if (!Array.isArray(entry.value)) bytes += Buffer.byteLength(key);
      open.push({ value: member, depth: entry.depth + 1 });
    }
  }
  return bytes;
}
