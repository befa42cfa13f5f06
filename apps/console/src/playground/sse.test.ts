import { describe, expect, it } from 'vitest';
import { MAX_EVENT_CHARS, SseError, SseParser } from './sse.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('server-sent events', () => {
  const stream = 'data: {"a":"é🐟"}\r\n\r\n: a comment\nevent: x\ndata:one\ndata: two\n\ndata: [DONE]\n\n';
  const expected = ['{"a":"é🐟"}', 'one\ntwo', '[DONE]'];

  it('reads whole events', () => {
    expect(new SseParser().push(bytes(stream))).toEqual(expected);
  });
  it('reads the same wherever the stream is cut', () => {
    const all = bytes(stream);
    for (let cut = 0; cut <= all.length; cut++) {
      const parser = new SseParser();
      expect([...parser.push(all.slice(0, cut)), ...parser.push(all.slice(cut))]).toEqual(expected);
    }
    const parser = new SseParser();
    expect([...all].flatMap((byte) => parser.push(Uint8Array.of(byte)))).toEqual(expected);
  });
  it('gives nothing for an event that has not ended', () => {
    expect(new SseParser().push(bytes('data: half\n'))).toEqual([]);
  });
  it('refuses an event without end, as one line or as many', () => {
    expect(() => new SseParser().push(bytes('data: ' + 'x'.repeat(MAX_EVENT_CHARS)))).toThrow(SseError);
    const parser = new SseParser();
    const line = bytes('data: ' + 'x'.repeat(1 << 16) + '\n');
    expect(() => {
      for (let i = 0; i < 20; i++) parser.push(line);
    }).toThrow(SseError);
  });
});
