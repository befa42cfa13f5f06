import { describe, expect, it } from 'vitest';
import { fieldOfParameter, noParameters, readParameters } from '../parameters/read.ts';
import { readText, type TextBody, type TextValues } from './text-request.ts';

const values: TextValues = { ...noParameters, prompt: 'Once', temperature: '0.8' };

function body(change: Partial<TextValues> = {}): TextBody {
  const read = readText({ ...values, ...change }, 'tiny');
  if (!read.ok) throw new Error(JSON.stringify(read.faults));
  return read.body;
}

describe('the form of a text', () => {
  it('leaves out what was left empty or changes nothing', () => {
    const sent = { presence_penalty: '0', frequency_penalty: ' 0.0', min_tokens: '0', repetition_penalty: ' ' };
    expect(body({ ...sent, reasoning_effort: 'low', enable_thinking: 'true' })).toEqual({
      model: 'tiny',
      prompt: 'Once',
      temperature: 0.8,
      stream: true,
      stream_options: { include_usage: true },
    });
  });
  it('reads a seed and stop texts, one a line', () => {
    expect(body({ seed: '-7', stop: 'The end\n\\n\\n\n' })).toMatchObject({ seed: -7, stop: ['The end', '\n\n'] });
  });
  it('names every field that is wrong', () => {
    const bad: Partial<TextValues> = {
      prompt: '',
      temperature: '3',
      top_p: 'x',
      max_tokens: '1.5',
      seed: '1e99',
      stop: 'a\n'.repeat(33),
      top_k: '-2',
      min_p: '1.1',
      presence_penalty: '-3',
      frequency_penalty: '2.5',
      repetition_penalty: '0',
      min_tokens: '-1',
      logprobs: '21',
      logit_bias: '{"a": 1}',
    };
    const read = readText({ ...values, ...bad }, 'tiny');
    expect(read.ok ? [] : Object.keys(read.faults).sort()).toEqual(Object.keys(bad).sort());
  });
});

describe('parameters', () => {
  const all = {
    ...noParameters,
    max_tokens: '9',
    logprobs: '2',
    enable_thinking: 'false',
    reasoning_effort: 'high',
    ignore_eos: 'true',
    logit_bias: '{"007": -100}',
    top_k: '0',
  };
  it('are named as each endpoint names them', () => {
    expect(readParameters(all, 'chat')).toEqual({
      faults: {},
      sent: {
        max_completion_tokens: 9,
        logprobs: true,
        top_logprobs: 2,
        chat_template_kwargs: { enable_thinking: false },
        reasoning_effort: 'high',
        ignore_eos: true,
        logit_bias: { '007': -100 },
        top_k: 0,
      },
    });
    expect(readParameters(all, 'text').sent).toMatchObject({ max_tokens: 9, logprobs: 2 });
  });
  it.each(['{"1": 101}', '[1]', 'null', '{', '{"1": "2"}'])('tells what is wrong with the biases %s', (bias) => {
    expect(readParameters({ ...noParameters, logit_bias: bias }, 'chat').faults.logit_bias).toBeTruthy();
  });
  it('are found again by the names in errors', () => {
    expect(fieldOfParameter('tools[0].function.name')).toBe('tools');
    expect(fieldOfParameter('response_format.json_schema.schema')).toBe('schema');
    expect(fieldOfParameter('top_logprobs')).toBe('logprobs');
    expect(fieldOfParameter('temperature')).toBe('temperature');
  });
});
