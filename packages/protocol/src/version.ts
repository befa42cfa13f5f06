/** Version of signalling and frames together. A peer and a coordinator talk only if a common one exists. */
export const PROTOCOL_VERSION = 2;
export const SUPPORTED_VERSIONS: readonly number[] = [PROTOCOL_VERSION];

/** The highest version that both sides know, or undefined where there is none: `hello` is then refused with `version`. */
export function negotiateVersion(theirs: readonly number[]): number | undefined {
  const common = SUPPORTED_VERSIONS.filter((version) => theirs.includes(version));
  return common.length > 0 ? Math.max(...common) : undefined;
}
