import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StopMatcher } from './stop.ts';

function run(pieces: readonly string[], stops: readonly string[]) {
  const matcher = new StopMatcher(stops);
  const emitted: string[] = [];
  for (const piece of pieces) {
    const { text, stop } = matcher.push(piece);
    emitted.push(text);
    if (stop !== undefined) return { text: emitted.join(''), emitted, stopped: true };
  }
  emitted.push(matcher.flush());
  return { text: emitted.join(''), emitted, stopped: false };
}

/** The definition: of all prefixes of the text, the shortest that ends with a stop string, without the longest such. */
function expected(text: string, stops: readonly string[]) {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    if (found.length > 0) return { text: text.slice(0, end - Math.max(...found.map((s) => s.length))), stopped: true };
  }
  return { text, stopped: false };
}

describe('StopMatcher', () => {
  it('finds a stop string across pieces and gives nothing of it away', () => {
    expect(run(['one', ' EN', 'D', ' two'], ['END'])).toMatchObject({ text: 'one ', stopped: true });
  });

  it('holds back only what may become a stop string', () => {
    expect(run(['aE', 'N', 'x', 'b'], ['END']).emitted).toEqual(['a', '', 'ENx', 'b', '']);
  });

  it('gives back what was held when the text ends', () => {
    expect(run(['aEN'], ['END'])).toMatchObject({ text: 'aEN', stopped: false });
  });

  it('equals the definition, however the text is cut', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 30 });
    const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 4 }), {
      maxLength: 4,
    });
    fc.assert(
      fc.property(letters, stops, fc.array(fc.nat(5), { maxLength: 30 }), (text, stops, cuts) => {
        const pieces: string[] = [];
        let at = 0;
        for (const cut of cuts) {
          pieces.push(text.slice(at, at + cut));
          at += cut;
        }
        pieces.push(text.slice(at));
        const { text: got, stopped } = run(pieces, stops);
        expect({ text: got, stopped }).toEqual(expected(text, stops));
      }),
      { numRuns: 2000 },
    );
  });
});
