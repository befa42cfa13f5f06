import { describe, expect, it } from 'vitest';
import { randomHashTable } from './hash.ts';
import { openGate } from './index.ts';

const table = Uint16Array.of(0, 1, 2, 3, 3, 0); // of three tokens, two experts each
const layer = { layer: 0, numExperts: 4, vocabSize: 3, hashTable: table };
const rows = { numRows: 4, logits: new Float32Array(16), tokenIds: [2, 0, 2, 1] };
const open = (changes: object = {}, settings: object = {}) =>
  openGate('hash', { k: 2, ...settings }, { ...layer, ...changes });

describe('gate hash', () => {
  it('gives a token its experts of the table, wherever it stands, with equal weights', () => {
    const { experts, weights, rowEnd } = open()(rows);
    expect([...experts]).toEqual([3, 0, 0, 1, 3, 0, 2, 3]);
    expect([...weights]).toEqual(Array(8).fill(0.5));
    expect([...rowEnd]).toEqual([2, 4, 6, 8]);
  });

  it.each([
    [
      'a table that is shorter than the vocabulary',
      { vocabSize: 4 },
      'hashTable is 6 entries long: 4 tokens of 2 experts need 8',
    ],
    ['no table', { hashTable: undefined }, 'hashTable is missing: give it 2 experts for each of 3 tokens'],
    ['no vocabulary', { vocabSize: undefined }, 'vocabSize is missing'],
    ['an expert that there is not', { numExperts: 3 }, "hashTable is 3: token 1's experts are 0 to 2"],
    ['an expert that is NaN', { hashTable: [0, 1, 2, 3, Number.NaN, 0] }, "hashTable is NaN: token 2's"],
    ['one expert twice', { hashTable: [0, 1, 2, 2, 3, 0] }, 'hashTable is 2: token 1 has this expert twice'],
    ['more experts than there are', { numExperts: 1 }, 'k is 2: there are only 1 experts'],
  ])('names %s', (_, changes, problem) => {
    expect(() => open(changes)).toThrow(`gate hash: ${problem}`);
  });

  it('names tokens that are missing, and one that is not of the vocabulary', () => {
    expect(() => open()({ ...rows, tokenIds: [1] })).toThrow('tokenIds is 1 ids: give it the ids of 4 tokens');
    expect(() => open()({ numRows: 4, logits: rows.logits })).toThrow('tokenIds is missing');
    expect(() => open()({ ...rows, tokenIds: [0, 1, 2, 3] })).toThrow('tokenIds is 3: the vocabulary has 3 tokens');
  });
});

describe('randomHashTable', () => {
  it('gives each token distinct experts, all about as often, and the same ones for a seed', () => {
    const random = randomHashTable(3, 8, 1000, 5);
    expect(randomHashTable(3, 8, 1000, 5)).toEqual(random);
    expect(randomHashTable(3, 8, 1000, 6)).not.toEqual(random);
    expect(() =>
      openGate('hash', { k: 3 }, { layer: 0, numExperts: 8, vocabSize: 1000, hashTable: random }),
    ).not.toThrow();
    const loads = Array.from({ length: 8 }, (_, expert) => random.filter((e) => e === expert).length);
    for (const load of loads) expect(Math.abs(load - 375)).toBeLessThan(75); // five standard deviations
  });
});
