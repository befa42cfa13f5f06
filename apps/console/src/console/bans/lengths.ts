/** How long an operator may keep somebody out, in minutes; null: until it is lifted. */
export const LENGTHS: readonly (readonly [minutes: number | null, words: string])[] = [
  [15, '15 minutes'],
  [60, '1 hour'],
  [1_440, '1 day'],
  [10_080, '1 week'],
  [null, 'until it is lifted'],
];
