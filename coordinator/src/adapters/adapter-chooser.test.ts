import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ABOUT_FILE, readAbout } from './adapter-about.ts';
import { AdapterChooser, ROUTED_TOKENS } from './adapter-chooser.ts';

/** Tokens are letters: a and b point one way, c and d another, and the rest a third. */
function rig(threshold: number) {
  const embedded: number[] = [];
  const chooser = new AdapterChooser({
    encode: (text) => Array.from(text, (letter) => letter.charCodeAt(0)),
    tokenEmbedding: (id) => {
      embedded.push(id);
      const letter = String.fromCharCode(id);
      return Float32Array.of(Number('ab'.includes(letter)), Number('cd'.includes(letter)), Number(letter > 'd'));
    },
    threshold,
  });
  const adapter = (description: string, ...examples: string[]) => {
    return { description, points: chooser.pointsOf({ description, examples }) };
  };
  const choose = (prompt: string, ...adapters: ReturnType<typeof adapter>[]) => {
    const { adapter: chosen, similarity } = chooser.choose(ids(prompt), adapters);
    return [chosen?.description, similarity];
  };
  return { adapter, choose, embedded };
}

const ids = (text: string): number[] => Array.from(text, (letter) => letter.charCodeAt(0));

describe('AdapterChooser', () => {
  it('chooses the adapter of the nearest text, be it the description or an example', () => {
    const { adapter, choose } = rig(0.5);
    const [one, two] = [adapter('a', 'xyz'), adapter('c')];
    expect(choose('ab', one, two)).toEqual(['a', expect.closeTo(1, 6)]);
    expect(choose('dd', one, two)).toEqual(['c', expect.closeTo(1, 6)]);
    expect(choose('xyx', one, two)).toEqual(['a', expect.closeTo(1, 6)]);
  });

  it('chooses none below the threshold, and tells how near the nearest was', () => {
    const { adapter, choose } = rig(0.9);
    const [chosen, similarity] = choose('ac', adapter('a'), adapter('c'));
    expect(chosen).toBeUndefined();
    expect(similarity).toBeCloseTo(Math.SQRT1_2, 2);
  });

  it('chooses none where there is nothing to compare', () => {
    const { adapter, choose } = rig(-1);
    expect(choose('', adapter('a'))).toEqual([undefined, null]);
    expect(choose('a', adapter(''))).toEqual([undefined, null]);
    expect(choose('a')).toEqual([undefined, null]);
  });

  it('counts a token once, and a rare one more', () => {
    const { adapter, choose } = rig(0);
    expect(choose('aaaaaaad', adapter('a'), adapter('c'))[0]).toBe('c');
  });

  it('looks at a bounded number of a prompt’s last tokens', () => {
    const { adapter, choose, embedded } = rig(0);
    const one = adapter('a');
    embedded.length = 0;
    expect(choose('c'.repeat(ROUTED_TOKENS) + 'b'.repeat(ROUTED_TOKENS), one)).toEqual(['a', expect.closeTo(1, 6)]);
    expect(embedded).toEqual(ids('b'));
  });
});

describe('readAbout', () => {
  it('reads what a folder says of its adapter, and names what is wrong with that', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'shoal-about-'));
    const write = (text: string): Promise<void> => writeFile(join(dir, ABOUT_FILE), text);
    try {
      expect(await readAbout(dir)).toEqual({ description: '', examples: [] });
      await write('{"description": "Letters", "examples": ["Dear Mia,"]}');
      expect(await readAbout(dir)).toEqual({ description: 'Letters', examples: ['Dear Mia,'] });
      for (const [text, reason, message] of [
        ['{"examples": [1]}', 'bad-value', /shoal_adapter.json: examples.0/],
        ['{"description": 1}', 'bad-value', /shoal_adapter.json: description/],
        [JSON.stringify({ examples: Array(33).fill('x') }), 'bad-value', /examples.*32/],
        ['{"sample": "x"}', 'bad-value', /the file.*sample/],
        ['[]', 'bad-value', /the file/],
        ['{', 'unreadable', /shoal_adapter.json: not valid JSON/],
      ] as const) {
        await write(text);
        await expect(readAbout(dir)).rejects.toMatchObject({ reason, message: expect.stringMatching(message) });
      }
    } finally {
      await rm(dir, { recursive: true });
    }
  });
});
