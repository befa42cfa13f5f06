import { chunkTraceSchema } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { describeRefusal, parseChunk } from './chunk.ts';

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
      finishReason: 'length',
      usage: { promptTokens: 4, completionTokens: 9 },
      tokens,
      error: null,
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
    expect(parseChunk(data).error).toBeNull();
  });
  it('tells an error in the middle of a stream in words', () => {
    expect(parseChunk('{"error":{"message":"The deadline passed.","param":null}}').error).toBe('The deadline passed.');
    expect(parseChunk('<html>').error).toContain('invalid JSON: <html>');
  });
});

describe('refusals', () => {
  it('gives the message, parameter, status and when to come back', () => {
    const body = JSON.stringify({ error: { message: 'must be at most 2', param: 'temperature' } });
    expect(describeRefusal(400, body, null)).toBe('must be at most 2 (parameter: temperature) (HTTP 400)');
    expect(describeRefusal(429, '{"error":{"message":"The queue is full."}}', '3')).toBe(
      'The queue is full. (HTTP 429) Try again in 3 s.',
    );
    expect(describeRefusal(502, '', null)).toBe('no explanation given (HTTP 502)');
  });
});
