import { beforeEach, describe, expect, it } from 'vitest';
import { ApiKeys, formatReset, KeyUse, RateLimitError } from './api-keys.ts';
import { accessFixture, entry } from './testing/fixtures.ts';
import { digestOf } from './token.ts';

const { open, write } = accessFixture();
let nowMs = 0;
const clock = (): number => nowMs;
beforeEach(() => (nowMs = 0));

describe('KeyUse', () => {
  const reasonOf = (work: () => unknown): string => {
    try {
      work();
    } catch (error) {
      return error instanceof RateLimitError ? `${error.reason} ${error.retryAfterS}` : String(error);
    }
    return 'none';
  };

  it('refuses requests beyond its limit per minute', () => {
    const use = new KeyUse({ name: 'a', digest: digestOf('x'), requestsPerMinute: 2 }, clock);
    use.startRequest();
    use.startRequest();
    expect(reasonOf(() => use.startRequest())).toBe('requests 30');
    expect(use.headers()).toEqual({
      'x-ratelimit-limit-requests': '2',
      'x-ratelimit-remaining-requests': '0',
      'x-ratelimit-reset-requests': '1m0s',
    });
    nowMs = 30_000;
    use.startRequest();
    expect([use.requests, use.refusals]).toEqual([3, 1]);
  });

  it('lets answers overdraw the token limit, and makes the next request wait', () => {
    const use = new KeyUse({ name: 'a', digest: digestOf('x'), tokensPerMinute: 60 }, clock);
    use.startRequest();
    const hold = use.startAnswers(1, 50);
    for (let token = 0; token < 40; token++) hold.onToken();
    hold.release();
    expect(reasonOf(() => use.startRequest())).toBe('tokens 31');
    nowMs = 31_000;
    use.startRequest();
    expect(reasonOf(() => use.startAnswers(1, 30))).toBe('tokens 29');
    expect([use.promptTokens, use.completionTokens]).toEqual([50, 40]);
  });

  it('limits concurrent answers, and tells a request for more than the limit that waiting does not help', () => {
    const use = new KeyUse({ name: 'a', digest: digestOf('x'), maxConcurrent: 3 }, clock);
    const two = use.startAnswers(2, 1);
    expect(reasonOf(() => use.startAnswers(2, 1))).toBe('concurrency 1');
    expect(reasonOf(() => use.startAnswers(4, 1))).toBe('concurrency undefined');
    two.release();
    two.release();
    use.startAnswers(3, 1);
    expect(reasonOf(() => use.startAnswers(1, 1))).toBe('concurrency 1');
  });
});

describe('ApiKeys', () => {
  it('keeps the usage of a key when the file is reloaded, unless its limits changed', () => {
    const access = open({ apiKeys: [entry('a', 'key-a'), entry('b', 'key-b', { requestsPerMinute: 5 })] });
    const keys = new ApiKeys(access, clock);
    const a = keys.find('key-a')!;
    const b = keys.find('key-b')!;
    write({ apiKeys: [entry('a', 'key-a'), entry('b', 'key-b', { requestsPerMinute: 6 }), entry('c', 'key-c')] });
    access.reload();
    expect(keys.find('key-a')).toBe(a);
    expect(keys.find('key-b')).not.toBe(b);
    expect(keys.uses.map((use) => use.key.name)).toEqual(['a', 'b', 'c']);
    expect(keys.find('key-d')).toBeUndefined();
    write({});
    access.reload();
    expect(keys.required).toBe(false);
  });
});

describe('formatReset', () => {
  it('writes the time until a limit is reset as OpenAI does', () => {
    expect([0, 16.2, 1500, 59_999, 60_000, 360_000].map(formatReset)).toEqual([
      '0ms',
      '17ms',
      '1.5s',
      '1m0s',
      '1m0s',
      '6m0s',
    ]);
  });
});
