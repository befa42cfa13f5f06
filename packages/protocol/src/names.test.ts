import { describe, expect, it } from 'vitest';
import { displayNameSchema, nameKey } from './names.ts';

describe('a name', () => {
  it.each(['Ann', 'Zoë Ó Briain', '山田 太郎', 'Ελένη', 'مريم', 'class 3b!', 'GPU-Freunde e.V.', 'नेहा', '🐟 shoal'])(
    'may be %s',
    (name) => expect(displayNameSchema.parse(name)).toBe(name.normalize('NFC')),
  );

  it.each([
    ['nothing', ' '],
    ['a line feed', 'a\nb'],
    ['a change of direction', 'ann\u202eevil'],
    ['an isolate', '\u2066ann'],
    ['a mark of direction', 'ann\u200f'],
    ['a space without width', 'an\u200bn'],
    ['a filler that is seen as nothing', '\u3164a'],
    ['no letter', '!!!'],
    ['piled accents', 'a\u0301\u0302\u0303\u0304'],
    ['a private character', 'a\ue000'],
    ['half a character', 'a\ud800'],
    ['two spaces', 'a  b'],
    ['a space of another kind', 'a\u00a0b'],
    ['33 characters', 'a'.repeat(33)],
    ['a megabyte', 'a'.repeat(1 << 20)],
  ])('may not have %s', (_, name) => expect(displayNameSchema.safeParse(name).success).toBe(false));

  it('is one and the same in capitals, in full width and with spaces around it', () => {
    expect(nameKey('ＡＮＮ')).toBe(nameKey('ann'));
    expect(displayNameSchema.parse('  Ann ')).toBe('Ann');
    expect(nameKey('Ann')).not.toBe(nameKey('Anne'));
  });
});
