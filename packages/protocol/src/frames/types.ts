/** Lowest two bits of a frame's first byte. A type never changes its meaning within a version. */
export const frameTypes = { dispatch: 0, combine: 1, refuse: 2, cancel: 3 } as const;
export type FrameType = keyof typeof frameTypes;

/**
 * The three bits above them, as a number: how the frame's arrays are encoded. `largeRows`: some row exceeds f16, has outliers, or
 * (in a combine) has no finite sum.
 */
export const formatBits = { int8Rows: 1, wideExperts: 2, largeRows: 4 } as const;

/** Lap ids have 24 bits and wrap around to 0: only the last few thousand of 16 million laps to one peer are remembered. */
export const MAX_LAP_ID = 0xff_ffff;
