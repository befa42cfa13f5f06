/** Lowest two bits of a frame's first byte. A type once used never gets another meaning within a version. */
export const frameTypes = { dispatch: 0, combine: 1, refuse: 2, cancel: 3 } as const;
export type FrameType = keyof typeof frameTypes;

/** The two bits above them, as a number: how a frame's arrays lie. */
export const formatBits = { int8Rows: 1, wideExperts: 2 } as const;

/** Lap ids have 24 bits, and begin again at 0 behind it: of 16 million laps to one peer only the last few thousand are remembered. */
export const MAX_LAP_ID = 0xff_ffff;
