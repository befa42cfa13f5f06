/** Version of signalling and frames together. A peer and a coordinator need a common one. */
export const PROTOCOL_VERSION = 3;
export const SUPPORTED_VERSIONS: readonly number[] = [PROTOCOL_VERSION];

/** Returns the highest version that both sides support; undefined if there is none, and `hello` is refused with `version`. */
export function negotiateVersion(theirs: readonly number[]): number | undefined {
  const common = SUPPORTED_VERSIONS.filter((version) => theirs.includes(version));
  return common.length > 0 ? Math.max(...common) : undefined;
}
