import { describe, expect, it } from 'vitest';
import { Automaton, type State } from '../automaton.ts';
import { compileProgram } from '../program.ts';
import { schemaExpression } from './schema-compiler.ts';

function accepts(schema: object): (text: string) => boolean {
  const automaton = new Automaton(compileProgram(schemaExpression({ type: 'string', ...schema })));
  return (text) => {
    // In pieces, as tokens are: the work for one is bounded.
    const pieces = JSON.stringify(text).match(/.{1,64}/gsu)!;
    let state: State | null = automaton.start;
    for (const piece of pieces) {
      automaton.begin();
      state &&= automaton.read(state, Buffer.from(piece));
    }
    return state?.isComplete ?? false;
  };
}

describe('a string’s length', () => {
  it.each([8_192, 8_193, 10_240, 10_241, 12_287, 20_000])('is counted exactly up to %i characters', (maxLength) => {
    const fits = accepts({ minLength: 3, maxLength });
    const lengths = [2, 3, 2_050, 2_051, 2_052, 4_099, maxLength - 1, maxLength, maxLength + 1, maxLength + 2_048];
    for (const length of lengths) {
      expect([length, fits('é'.repeat(length))]).toEqual([length, length >= 3 && length <= maxLength]);
    }
  });

  it('may be bounded far beyond any context, as agents’ tools do', () => {
    const program = compileProgram(schemaExpression({ type: 'string', maxLength: 524_288 }));
    expect(program.instructions.length).toBeLessThan(20_000);
    const fits = accepts({ maxLength: 524_288 });
    expect(fits('x'.repeat(100_000))).toBe(true);
    expect(() => accepts({ maxLength: 1e9 })).toThrow('“maxLength” at # is more than 4194304');
    expect(() => accepts({ minLength: 9_000 })).toThrow('“minLength” at # is more than 8192');
    expect(() => accepts({ pattern: '^a*$', maxLength: 9_000 })).toThrow('“maxLength” at # is more than 8192');
  });
});
