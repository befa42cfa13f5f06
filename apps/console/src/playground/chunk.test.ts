import { chunkTraceSchema } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { inWords, parseChunk, readRefusal } from './chunk.ts';

describe('chunks of a completion', () => {
  const tokens = [
    {
      id: 5,
      text: ' cat',
      laps: [
        {
          layer: 1,
          lapMs: 2.5,
          experts: [
            { expert: 3, weight: 0.5, peerId: 'p1' },
            { expert: 4, weight: 0.25, peerId: null },
          ],
        },
      ],
    },
  ];
  it('takes text, finish reason, usage and the trace', () => {
    const chunk = parseChunk(
      JSON.stringify({
        choices: [{ text: ' cat', finish_reason: 'length' }],
        usage: { prompt_tokens: 4, completion_tokens: 9 },
        shoal: { tokens },
      }),
    );
    expect(chunk).toEqual({
      text: ' cat',
      reasoning: '',
      calls: [],
      finishReason: 'length',
      usage: { promptTokens: 4, completionTokens: 9, reasoningTokens: null },
      tokens,
      fault: null,
    });
    expect(chunkTraceSchema.parse({ tokens: chunk.tokens })).toEqual({ tokens });
  });
  it('takes the trace of a choice, where there may be several choices', () => {
    expect(parseChunk(JSON.stringify({ choices: [{ text: ' cat', shoal: { tokens } }] })).tokens).toEqual(tokens);
  });
  it('takes the last chunk of include_usage, which has no choices', () => {
    expect(parseChunk('{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}')).toMatchObject({
      text: '',
      usage: { completionTokens: 2 },
    });
  });
  it.each(['null', '[]', '3', '{"choices":7,"shoal":{"tokens":[{"laps":[null]}]}}'])('survives %s', (data) => {
    expect(parseChunk(data).fault).toBeNull();
  });
  it('takes reasoning, pieces of calls and the odds of tokens from a chat', () => {
    const delta = {
      content: 'Hi',
      reasoning_content: 'hm',
      tool_calls: [{ index: 1, id: 'c1', type: 'function', function: { name: 'f', arguments: '{"a' } }, null],
    };
    const top = [{ token: 'Hi', logprob: -0.5, bytes: [72] }];
    const logprobs = { content: [{ token: 'Hi', logprob: -0.5, bytes: [72], top_logprobs: top }], refusal: null };
    const chunk = parseChunk(
      JSON.stringify({
        choices: [{ delta, logprobs, finish_reason: 'tool_calls', shoal: { tokens } }],
        usage: { prompt_tokens: 1, completion_tokens: 2, completion_tokens_details: { reasoning_tokens: 1 } },
      }),
    );
    expect(chunk).toMatchObject({
      text: 'Hi',
      reasoning: 'hm',
      calls: [
        { index: 1, id: 'c1', name: 'f', arguments: '{"a' },
        { index: 0, id: '', name: '', arguments: '' },
      ],
      finishReason: 'tool_calls',
      usage: { reasoningTokens: 1 },
      tokens: [{ odds: { logprob: -0.5, top: [{ token: 'Hi', logprob: -0.5 }] } }],
    });
  });
  it('takes the odds of a text', () => {
    const logprobs = { tokens: ['a'], token_logprobs: [-1], top_logprobs: [{ a: -1, b: -2 }], text_offset: [0] };
    const chunk = parseChunk(JSON.stringify({ choices: [{ text: 'a', logprobs, shoal: { tokens } }] }));
    expect(chunk.tokens[0]?.odds).toEqual({
      logprob: -1,
      top: [
        { token: 'a', logprob: -1 },
        { token: 'b', logprob: -2 },
      ],
    });
  });
  it('tells an error in the middle of a stream in words', () => {
    const broken = parseChunk('{"error":{"message":"The deadline passed.","param":null}}');
    expect(broken.fault).toEqual({ message: 'The deadline passed.', param: null });
    expect(parseChunk('<html>').fault?.message).toContain('invalid JSON: <html>');
  });
});

describe('refusals', () => {
  it('give the message, parameter, status and when to come back', () => {
    const body = JSON.stringify({ error: { message: 'must be at most 2', param: 'temperature' } });
    const refusal = readRefusal(400, body, null);
    expect(refusal).toEqual({ message: 'must be at most 2 (HTTP 400)', param: 'temperature' });
    expect(inWords(refusal)).toBe('must be at most 2 (HTTP 400) (parameter: temperature)');
    expect(inWords(readRefusal(429, '{"error":{"message":"The queue is full."}}', '3'))).toBe(
      'The queue is full. (HTTP 429) Try again in 3 s.',
    );
    expect(readRefusal(502, '', null).message).toBe('no explanation given (HTTP 502)');
  });
});
