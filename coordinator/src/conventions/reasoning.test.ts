import { describe, expect, it } from 'vitest';
import { chooseConvention } from './choose-convention.ts';
import type { GrammarSource } from '../grammar/grammar-source.ts';
import type { Convention } from './convention.ts';
import { RandomAnswers } from './testing/random-answer.ts';
import { byCharacter, readAnswer, twoSplits } from './testing/read-answer.ts';
import type { Piece } from './testing/render-calls.ts';

const tools = [{ name: 'f' }];
const hermes = chooseConvention({ template: '<think></think><tool_call>"name":' });
const kimi = chooseConvention({ template: '<think></think><|tool_calls_section_begin|>' });
const mistral = chooseConvention({ template: '[THINK][/THINK][TOOL_CALLS][ARGS]' });
const harmony = chooseConvention({ template: '<|channel|>analysis' });
const plain = chooseConvention({ template: '{{ messages }}' });

/** What is read, however it is cut: [reasoning, content, calls]. */
function parts(convention: Convention, pieces: Piece[], tail = '', own: typeof tools = tools): unknown[] {
  const read = (cut: Piece[]): unknown[] => {
    const { reasoning, content, calls } = readAnswer(convention, cut, { tools: own, tail });
    return [reasoning, content, calls.map((call) => `${call.name}${call.arguments}`)];
  };
  const whole = read(pieces);
  for (const split of twoSplits(pieces)) expect(read(split)).toEqual(whole);
  expect(read(byCharacter(pieces))).toEqual(whole);
  return whole;
}

const special = (name: string): Piece => ({ special: `<|${name}|>` });

describe('reasoning between tags', () => {
  it('is told from the answer, without the white space around', () => {
    expect(parts(hermes, ['<think>\nA hen,\n\nthen.\n</think>\n\nOnce.'])).toEqual(['A hen,\n\nthen.', 'Once.', []]);
    expect(parts(hermes, [' \n<think>A</think>Once.'], '', [])).toEqual(['A', 'Once.', []]);
    expect(parts(mistral, [{ special: '[THINK]' }, 'A', { special: '[/THINK]' }, 'Once.'])).toEqual(['A', 'Once.', []]);
  });

  it('may have been opened by the prompt, closed by it, or both', () => {
    const tail = '<|im_start|>assistant\n<think>\n';
    expect(hermes.startsInReasoning(tail)).toBe(true);
    expect(parts(hermes, ['A hen.\n</think>\n\nOnce.'], tail)).toEqual(['A hen.', 'Once.', []]);
    expect(parts(hermes, ['<think>\nA hen.</think>Once.'], tail)).toEqual(['A hen.', 'Once.', []]);
    const closed = '<|im_start|>assistant\n<think>\n\n</think>\n\n';
    expect(hermes.startsInReasoning(closed)).toBe(false);
    expect(parts(hermes, ['Once.'], closed)).toEqual(['', 'Once.', []]);
    expect(parts(hermes, ['</think>\n\nOnce.'], closed)).toEqual(['', 'Once.', []]);
    const asked = 'What is <think>?<|im_end|>\n<|im_start|>assistant\n';
    expect(hermes.startsInReasoning(asked)).toBe(false);
  });

  it('may come before what a grammar binds, unless the prompt leaves no choice', () => {
    const asked = 'What is <think>?<|im_end|>\n<|im_start|>assistant\n';
    const source: GrammarSource = {
      kind: 'after',
      parts: hermes.optionalReasoning(asked),
      source: { kind: 'choice', choices: ['yes'] },
    };
    const answers = new RandomAnswers(source, [], ['<think>', '</think>']);
    for (let run = 0; run < 20; run++) {
      const [, content, calls] = parts(hermes, answers.next(), asked);
      expect([content, calls]).toEqual(['yes', []]);
    }
    for (const text of ['yes', '<think>\nIs it?\n</think>\n\nyes']) expect(answers.accepts(text), text).toBe(true);
    for (const text of ['<think>yes', 'yes</think>yes']) expect(answers.accepts(text), text).toBe(false);
    for (const tail of ['<|assistant|>\n<think>\n', '<|assistant|>\n<think>\n\n</think>\n\n', '<|Assistant|></think>'])
      expect(hermes.optionalReasoning(tail), tail).toEqual([]);
    expect(plain.optionalReasoning(asked)).toEqual([]);
  });

  it('is all there is where the answer is cut off in it', () => {
    expect(parts(hermes, ['<think>\nA hen, th'])).toEqual(['A hen, th', '', []]);
    expect(parts(hermes, ['A hen </thi'], '<think>\n')).toEqual(['A hen </thi', '', []]);
  });

  it('begins an answer and nothing else', () => {
    const quoted = 'Write <think> before and </think> after.';
    expect(parts(hermes, [quoted])).toEqual(['', quoted, []]);
    expect(parts(plain, ['<think>A</think>Once.'])).toEqual(['', '<think>A</think>Once.', []]);
    expect(plain).toMatchObject({ reasons: false, reasoningEnd: undefined });
  });

  it('is followed by calls, and holds none', () => {
    const call = '<tool_call>{"name": "f", "arguments": {"a": "</think>"}}</tool_call>';
    const thought = '<tool_call>{"name": "f", "arguments": {}}</tool_call>';
    expect(parts(hermes, [`<think>${thought}</think>\n\n${call}`])).toEqual([thought, '', ['f{"a": "</think>"}']]);
  });

  it('ends where the calls begin, with models that leave out its end', () => {
    const answer = [
      special('tool_calls_section_begin'),
      special('tool_call_begin'),
      'functions.f:0',
      special('tool_call_argument_begin'),
      '{}',
      special('tool_call_end'),
      special('tool_calls_section_end'),
    ];
    expect(parts(kimi, ['A hen.', ...answer], '<think>')).toEqual(['A hen.', '', ['f{}']]);
  });
});

describe('gpt-oss', () => {
  const message = (header: string, body: string): Piece[] => [special('channel'), header, special('message'), body];
  const next = [special('end'), special('start'), 'assistant'];
  const start = '<|end|><|start|>assistant';

  it('reasons in one channel, announces in another and answers in a third', () => {
    const pieces = [
      ...message('analysis', 'A hen.'),
      ...next,
      ...message('commentary', 'I look. '),
      ...next,
      ...message('final', 'Once.'),
    ];
    expect(parts(harmony, pieces, start)).toEqual(['A hen.', 'I look. Once.', []]);
  });

  it('calls tools from the header or the role', () => {
    const call = [...message('commentary to=functions.f ', ''), special('call')];
    const json = [
      special('channel'),
      'commentary to=functions.f ',
      special('constrain'),
      'json',
      special('message'),
      '{"a": 1}',
      special('call'),
    ];
    const role = [' to=functions.f', special('channel'), 'commentary json', special('message'), '{}', special('call')];
    expect(parts(harmony, [...message('analysis', 'A'), ...next, ...json], start)).toEqual(['A', '', ['f{"a": 1}']]);
    expect(parts(harmony, role, start)).toEqual(['', '', ['f{}']]);
    expect(
      parts(
        harmony,
        call.filter((piece) => piece !== ''),
        start,
      ),
    ).toEqual(['', '', ['f{}']]);
    expect(parts(harmony, json.slice(0, -2), start)).toEqual(['', '', ['f']]);
  });

  it('hands on arguments that are no JSON, and thinks with its own tools', () => {
    expect(parts(harmony, [...message('commentary to=functions.f', 'city: Rome'), special('call')], start)).toEqual([
      '',
      '',
      ['fcity: Rome'],
    ]);
    expect(parts(harmony, message('analysis to=python', 'print(1)'), start)).toEqual(['print(1)', '', []]);
  });

  it('may come before what a grammar binds, unless the prompt leaves no choice', () => {
    const source: GrammarSource = {
      kind: 'after',
      parts: [...harmony.optionalReasoning(start), harmony.answerPrefix],
      source: { kind: 'choice', choices: ['yes'] },
    };
    const answers = new RandomAnswers(source, ['<|channel|>', '<|message|>', '<|end|>', '<|start|>']);
    for (let run = 0; run < 20; run++) {
      const [, content, calls] = parts(harmony, answers.next(), start);
      expect([content, calls]).toEqual(['yes', []]);
    }
    const reasoned = '<|channel|>analysis<|message|>A hen.<|end|><|start|>assistant<|channel|>final<|message|>yes';
    for (const text of [reasoned, '<|channel|>final<|message|>yes']) expect(answers.accepts(text), text).toBe(true);
    for (const text of ['yes', reasoned.slice(0, -36)]) expect(answers.accepts(text), text).toBe(false);
    expect(harmony.optionalReasoning(`${start}<|channel|>analysis<|message|>`)).toEqual([]);
  });

  it('answers without a header where the prompt has written it, or the model forgets it', () => {
    expect(harmony.answerPrefix).toBe('<|channel|>final<|message|>');
    expect(parts(harmony, ['{"a": 1}'], start + harmony.answerPrefix)).toEqual(['', '{"a": 1}', []]);
    expect(harmony.startsInReasoning(`${start}<|channel|>analysis<|message|>`)).toBe(true);
    expect(
      parts(harmony, ['A hen.', ...next, ...message('final', 'Once.')], `${start}<|channel|>analysis<|message|>`),
    ).toEqual(['A hen.', 'Once.', []]);
    expect(parts(harmony, ['Once.'], start)).toEqual(['', 'Once.', []]);
  });

  it('gives the text of a call as content where there are no tools', () => {
    expect(parts(harmony, [...message('commentary to=functions.f', '{}'), special('call')], start, [])).toEqual([
      '',
      '{}',
      [],
    ]);
  });
});
