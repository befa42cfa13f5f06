/** Second byte after the version, one for each frame. A type once used never gets another meaning. */
export const frameTypes = { dispatch: 1, combine: 2, refuse: 3, cancel: 4 } as const;
export type FrameType = keyof typeof frameTypes;
