import { expect, it } from 'vitest';
import { lentThreads, threadsInWords } from './device.ts';

it.each([
  [1, true, 'one thread'],
  [2, true, 'one thread'],
  [8, true, '4 threads'],
  [64, true, '4 threads'],
  [8, false, 'one thread'],
])('of %i cores, shared memory: %s, lends %s', (cores, mayShare, words) => {
  expect(threadsInWords(lentThreads(cores, mayShare))).toBe(words);
});
