import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { chooseConvention, CONVENTION_NAMES, conventionByName } from './choose-convention.ts';
import type { WholeCall } from './convention.ts';
import type { Tool } from './output-parser.ts';
import {
  type Answer,
  byCharacter,
  collect,
  conventionOf,
  pushPiece,
  readAnswer,
  twoSplits,
} from './testing/read-answer.ts';
import { type Piece, type Renderer, RENDERERS, toPieces } from './testing/render-calls.ts';

const CALLS_PER_CONVENTION = 1_000;
/** Pieces of a long run. */
const RUN = 2_000;

const typeOf = (value: unknown): string => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);

/** Tools with schemas that calls fit. */
function toolsOf(calls: readonly WholeCall[]): Tool[] {
  return calls.map(({ name, arguments: text }) => {
    const entries = Object.entries(JSON.parse(text) as object);
    const properties = Object.fromEntries(entries.map(([key, value]) => [key, { type: typeOf(value) }]));
    return { name, parameters: { type: 'object', properties } };
  });
}

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom(...'<>/{}[]()"\'\\\n\t ,:=`;|'), maxLength: 20 }),
  fc.constantFrom(
    '',
    'true',
    'None',
    '12',
    'null',
    '</tool_call>',
    '<|call|>',
    '```',
    '[TOOL_CALLS]',
    '{"a": 1}',
    '\n\n',
  ),
);

/** Only what JSON can hold: −0 becomes 0. */
const jsonValue = fc
  .jsonValue({ maxDepth: 3, stringUnit: 'binary' })
  .map((value) => JSON.parse(JSON.stringify(value)) as unknown);

function callsFor({ isTagged = false, isSingle = false, unwritable = [] }: Renderer): fc.Arbitrary<WholeCall[]> {
  const isWritable = (value: unknown): boolean =>
    typeof value !== 'string' || !unwritable.some((one) => value.includes(one));
  const key = isTagged ? fc.stringMatching(/^[A-Za-z_]\w{0,12}$/) : text;
  const value = fc.oneof(text, jsonValue).filter(isWritable);
  const call = fc.record({
    name: fc.stringMatching(/^[A-Za-z_][\w-]{0,20}$/),
    arguments: fc.dictionary(key, value, { maxKeys: 5 }).map((one) => JSON.stringify(one)),
  });
  return fc.uniqueArray(call, { selector: (one) => one.name, minLength: 1, maxLength: isSingle ? 1 : 3 });
}

/** Cuts texts at the given places, each a fraction of what is left. */
function cut(pieces: readonly Piece[], places: readonly number[]): Piece[] {
  return pieces.flatMap((piece): Piece[] => {
    if (typeof piece !== 'string') return [piece];
    const parts: string[] = [];
    let rest = [...piece];
    for (const place of places) {
      const at = Math.floor(place * rest.length);
      parts.push(rest.slice(0, at).join(''));
      rest = rest.slice(at);
    }
    return [...parts, rest.join('')].filter((part) => part !== '');
  });
}

const asValues = (calls: readonly WholeCall[]): unknown[] =>
  calls.map(({ name, arguments: json }) => [name, JSON.stringify(JSON.parse(json))]);

const SHORT: WholeCall[] = [
  { name: 'get_weather', arguments: '{"city": "São \\"Paulo\\"\\n", "days": 3, "units": {"t": ["C", null]}}' },
  { name: 'list', arguments: '{}' },
  { name: 'f', arguments: '{"on": true, "text": "1 < 2 > {0} [x] 🐔"}' },
];
const shortFor = ({ isSingle }: Renderer): WholeCall[] => (isSingle ? SHORT.slice(0, 1) : SHORT);

/** Whether one state of an answer can become another by adding to it. */
function isBeginning(early: Answer, late: Answer): boolean {
  const isCallBeginning = early.calls.every((call, index) => {
    const other = late.calls[index];
    return other?.name === call.name && other.arguments.startsWith(call.arguments);
  });
  return late.content.startsWith(early.content) && late.reasoning.startsWith(early.reasoning) && isCallBeginning;
}

describe.each(RENDERERS)('$convention', (renderer) => {
  const convention = conventionOf(renderer);
  const pieces = (answer: string): Piece[] => toPieces(answer, renderer.specials);
  const before = renderer.hasContent === false ? '' : 'Let me see. <b>{"a"</b>\n\n';

  it('is chosen by its template and by its name', () => {
    expect(convention.name).toBe(renderer.convention);
    expect(conventionByName(convention.name, { template: renderer.template }).name).toBe(convention.name);
  });

  it(`reads ${CALLS_PER_CONVENTION} calls as they were written, however they are cut`, () => {
    const seen = { calls: 0 };
    const property = fc.property(
      callsFor(renderer),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
      (calls, places) => {
        seen.calls += calls.length;
        const rendered = renderer.render(calls);
        // A marker inside an argument is no special token.
        const isQuoted = calls.some((call) => renderer.specials.some((one) => call.arguments.includes(one)));
        const whole = isQuoted ? [rendered] : pieces(rendered);
        const answer = readAnswer(convention, cut(whole, places), { tools: toolsOf(calls) });
        expect(asValues(answer.calls)).toEqual(asValues(calls));
        expect(answer.content).toBe('');
      },
    );
    while (seen.calls < CALLS_PER_CONVENTION) fc.assert(property, { numRuns: 100 });
  });

  it('reads the same whichever way the pieces are cut, with special tokens and without', () => {
    const calls = shortFor(renderer);
    const tools = toolsOf(calls);
    const rendered = before + renderer.render(calls);
    const whole = readAnswer(convention, pieces(rendered), { tools });
    expect(asValues(whole.calls)).toEqual(asValues(calls));
    expect(whole.content).toBe(before.trimEnd());
    for (const split of twoSplits(pieces(rendered))) expect(readAnswer(convention, split, { tools })).toEqual(whole);
    for (const split of twoSplits([rendered])) expect(readAnswer(convention, split, { tools })).toEqual(whole);
    expect(readAnswer(convention, byCharacter(pieces(rendered)), { tools })).toEqual(whole);
  });

  it('takes nothing back, and ends well wherever the answer is cut off', () => {
    const calls = shortFor(renderer);
    const tools = toolsOf(calls);
    const all = byCharacter(pieces(before + renderer.render(calls)));
    const whole = readAnswer(convention, all, { tools });
    const parser = convention.newParser({ tools, tail: '' });
    const soFar: Answer = { content: '', reasoning: '', calls: [] };
    for (const [index, piece] of all.entries()) {
      collect(pushPiece(parser, piece), soFar);
      expect(isBeginning(soFar, whole)).toBe(true);
      const cutOff = readAnswer(convention, all.slice(0, index + 1), { tools });
      expect(isBeginning(soFar, cutOff)).toBe(true);
      expect(isBeginning({ ...cutOff, content: '', reasoning: '' }, whole)).toBe(true);
    }
  });

  it('gives the arguments as they grow', () => {
    const calls = [{ name: 'f', arguments: JSON.stringify({ text: 'once upon a time '.repeat(20) }) }];
    const parser = convention.newParser({ tools: toolsOf(calls), tail: '' });
    const counts = byCharacter(pieces(renderer.render(calls))).map((piece) => pushPiece(parser, piece).length);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(300);
  });

  it('never throws, and gives what is no call as content', () => {
    const marker = fc.constantFrom(...renderer.specials, ...renderer.render(SHORT.slice(0, 1)).split(/(?=[<[{(])|\s/));
    const noise = fc.array(fc.oneof(text, marker), { maxLength: 12 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(noise, fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 }), (answer, places) => {
        const tools = toolsOf(SHORT);
        const whole = readAnswer(convention, pieces(answer), { tools });
        expect(readAnswer(convention, cut(pieces(answer), places), { tools })).toEqual(whole);
      }),
      { numRuns: 200 },
    );
    if (convention.name === 'harmony') return;
    expect(readAnswer(convention, ['Nothing to call.\n'], { tools: toolsOf(SHORT) })).toEqual({
      content: 'Nothing to call.\n',
      reasoning: '',
      calls: [],
    });
  });

  it('leaves out calls beyond the most that are asked for', () => {
    const calls = shortFor(renderer);
    const answer = readAnswer(convention, pieces(renderer.render(calls)), { tools: toolsOf(calls), maxCalls: 1 });
    expect(asValues(answer.calls)).toEqual(asValues(calls.slice(0, 1)));
    expect(answer.content).toBe('');
  });

  it('lets no special token through', () => {
    const calls = shortFor(renderer);
    const noisy = byCharacter(pieces(renderer.render(calls))).flatMap((piece): Piece[] => [
      piece,
      { special: '<|x|>' },
    ]);
    const answer = readAnswer(convention, noisy, { tools: toolsOf(calls) });
    expect(JSON.stringify(answer)).not.toContain('<|x|>');
    const plain = readAnswer(convention, ['a', { special: '<|x|>' }, 'b'], { tools: [] });
    expect(plain.content).toBe('ab');
  });

  it.each(['<', '[{', '"', '\\', renderer.render(SHORT.slice(0, 1)).slice(0, 1)])(
    'reads a long run of %j in time that its length bounds',
    (run) => {
      const opener = renderer.render(SHORT.slice(0, 1)).slice(0, -3);
      for (const begin of ['', opener])
        expect(charactersCopied([...pieces(begin), ...Array<string>(RUN).fill(run)])).toBeLessThan(100 * RUN);
    },
  );

  /** How many characters are copied to read these pieces, which is what reading costs. */
  function charactersCopied(all: readonly Piece[]): number {
    const parser = convention.newParser({ tools: toolsOf(SHORT), tail: '' });
    const original = String.prototype.slice;
    let copied = 0;
    vi.spyOn(String.prototype, 'slice').mockImplementation(function (this: string, ...range: [number?, number?]) {
      const part = original.apply(this, range);
      copied += part.length;
      return part;
    });
    for (const piece of all) pushPiece(parser, piece);
    parser.finish();
    vi.restoreAllMocks();
    return copied;
  }
});

describe('a convention by name', () => {
  it('has a renderer in these tests for every name', () => {
    expect([...CONVENTION_NAMES].sort()).toEqual(RENDERERS.map((one) => one.convention).sort());
  });

  it('says which names there are', () => {
    expect(() => conventionByName('nope', { template: '' })).toThrow(/"nope".*hermes/);
  });

  it('is the generic one where the template does not print tools', () => {
    const roles = { system: true, systemAnywhere: true, usersInARow: true };
    const traits = { tools: false, calls: true, ...roles, argumentsAs: 'string', takesBoth: false } as const;
    expect(chooseConvention({ template: '<｜tool▁sep｜></think>', traits })).toMatchObject({
      name: 'generic',
      reasons: true,
    });
  });
});
