import { describe, expect, it } from 'vitest';
import { looksLikeHubName, parseHubName } from './hub-name.ts';

describe('a model of a hub', () => {
  it('is named by organisation and name, with another revision than main after an @', () => {
    expect(parseHubName('openai/gpt-oss-20b')).toMatchObject({ repo: 'openai/gpt-oss-20b', revision: 'main' });
    expect(parseHubName('a/b@refs/pr/1')).toMatchObject({ repo: 'a/b', name: 'b', revision: 'refs/pr/1' });
  });

  it.each(['b', './b', '../b', 'a/..', 'a/b/c', 'a/b@../c', 'a/b@', '/a/b', 'a/b@x/../y'])('is not %s', (text) => {
    expect(looksLikeHubName(text)).toBe(false);
    expect(() => parseHubName(text)).toThrow('ORG/NAME@REVISION');
  });

  it('is not one of its GGUF files, which are given by path', () => {
    expect(() => parseHubName('a/b:q4/model.gguf')).toThrow(/download q4\/model\.gguf .* and give its path/);
  });
});
