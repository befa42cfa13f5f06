/** Version of signalling and frames together. A peer and a coordinator talk only if a common one exists. */
export const PROTOCOL_VERSION = 1;
export const SUPPORTED_VERSIONS: readonly number[] = [1];
