import { describe, expect, it } from 'vitest';
import type { GenerationEvent } from '../scheduler/generation.ts';
import { type ChoiceDelta, runChoice } from './choice.ts';
import { byteCodec } from './testing/byte-codec.ts';

const PLAIN_TEXT = { stop: [], stopTokenIds: [], minTokens: 0, includesStop: false, showsSpecialTokens: false };

describe('runChoice', () => {
  it.each([false, true])(
    'echoes a long prompt in pieces, with the same text and offsets (logprobs %s)',
    async (scored) => {
      // An é of two tokens lies across the border of the first two pieces.
      const prompt = `${'x'.repeat(4_095)}é${'y'.repeat(6_000)}`;
      const ids = [...Buffer.from(prompt)];
      const events = async function* (): AsyncGenerator<GenerationEvent> {
        if (scored) yield { type: 'prompt-logprobs', tokens: ids.map((tokenId) => ({ tokenId })) };
        yield { type: 'finish', reason: 'length' };
      };
      let turns = 0;
      const count = (): unknown => setImmediate(() => turns++ < 100 && count());
      count();
      const options = { codec: byteCodec(), text: PLAIN_TEXT, echoIds: ids, promptLogprobs: scored };
      const deltas: ChoiceDelta[] = [];
      for await (const delta of runChoice(events(), { ...options, onToken: () => {}, onDetails: () => {} })) {
        deltas.push(delta);
      }
      expect(turns).toBeGreaterThanOrEqual(2);
      expect(deltas.map(({ tokens }) => tokens.length)).toEqual([4_096, 4_096, ids.length - 8_192, 0]);
      expect(deltas.flatMap(({ pieces }) => pieces.map(({ text }) => text)).join('')).toBe(prompt);
      const tokens = deltas.flatMap((delta) => delta.tokens);
      expect(tokens.map(({ tokenId }) => tokenId)).toEqual(ids);
      expect([tokens[4_095], tokens[4_096], tokens[4_097]]).toMatchObject([
        { text: '', offset: 4_095 },
        { text: 'é', offset: 4_095 },
        { text: 'y', offset: 4_096 },
      ]);
    },
  );

  it.each([
    ['its own text, without the space that is the tokenizer’s', true, ' a b', 'a b'],
    ['a text of its own that has none', true, 'a b', 'a b'],
    ['more of a text', false, ' a b', ' a b'],
  ])('gives %s', async (_, beginsText, said, text) => {
    const events = async function* (): AsyncGenerator<GenerationEvent> {
      for (const tokenId of Buffer.from(said)) yield { type: 'token', token: { tokenId } };
      yield { type: 'finish', reason: 'stop' };
    };
    const codec = { ...byteCodec(), dropsFirstSpace: true };
    const options = { codec, text: PLAIN_TEXT, echoIds: undefined, promptLogprobs: false, beginsText };
    const shown: string[] = [];
    let numTokens = 0;
    for await (const delta of runChoice(events(), { ...options, onToken: () => {}, onDetails: () => {} })) {
      shown.push(...delta.pieces.map((piece) => piece.text));
      numTokens += delta.tokens.length;
    }
    expect(shown.join('')).toBe(text);
    expect(numTokens).toBe(said.length);
  });
});
