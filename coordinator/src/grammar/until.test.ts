import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Automaton } from './automaton.ts';
import { sequence, text } from './expression.ts';
import { compileProgram } from './program.ts';
import { until } from './until.ts';

const letters = (most: number) => fc.string({ unit: fc.constantFrom('a', 'b', 'é'), minLength: 1, maxLength: most });

describe('until', () => {
  it('ends where the marker first does', () => {
    fc.assert(
      fc.property(letters(5), letters(12), (marker, read) => {
        const automaton = new Automaton(compileProgram(sequence(until(marker, undefined), text('.'))));
        const state = automaton.read(automaton.start, Buffer.from(`${read}.`));
        // A full stop may also be a part of the text, but only where the marker has come is it the end.
        const ends = read.indexOf(marker) === read.length - marker.length && read.includes(marker);
        expect(state?.isComplete ?? false).toBe(ends);
        if (!read.includes(marker)) expect(state).not.toBeNull();
      }),
      { numRuns: 1_000 },
    );
  });
});
