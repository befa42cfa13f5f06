import { beforeEach, describe, expect, it } from 'vitest';
import { ownBudgets } from './budgets.ts';
import { ApiKeys, formatReset, KeyUse, RateLimitError } from './api-keys.ts';
import { accessFixture, entry } from './testing/fixtures.ts';
import { digestOf } from './token.ts';

const { open, write } = accessFixture();
let nowMs = 0;
const clock = (): number => nowMs;
const makeBudget = ownBudgets({ clock, dateMs: clock });
beforeEach(() => (nowMs = 0));

const reasonOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return error instanceof RateLimitError ? `${error.reason} ${error.retryAfterS}` : String(error);
  }
  return 'none';
};

describe('KeyUse', () => {
  it('refuses requests beyond its limit per minute', () => {
    const use = new KeyUse({ name: 'a', digest: digestOf('x'), requestsPerMinute: 2 }, { makeBudget });
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
    const use = new KeyUse({ name: 'a', digest: digestOf('x'), tokensPerMinute: 60 }, { makeBudget });
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
    const use = new KeyUse({ name: 'a', digest: digestOf('x'), maxConcurrent: 3 }, { makeBudget });
    const two = use.startAnswers(2, 1);
    expect(reasonOf(() => use.startAnswers(2, 1))).toBe('concurrency 1');
    expect(reasonOf(() => use.startAnswers(4, 1))).toBe('concurrency undefined');
    two.release();
    two.release();
    use.startAnswers(3, 1);
    expect(reasonOf(() => use.startAnswers(1, 1))).toBe('concurrency 1');
  });

  it('counts answers of other coordinators, and tells them of its own', () => {
    const told: number[] = [];
    const elsewhere = { of: () => 2, tell: (_: string, answers: number) => void told.push(answers) };
    const use = new KeyUse({ name: 'a', digest: digestOf('x'), maxConcurrent: 3 }, { makeBudget, elsewhere });
    const one = use.startAnswers(1, 1);
    expect(reasonOf(() => use.startAnswers(1, 1))).toBe('concurrency 1');
    one.release();
    expect(told).toEqual([1, 0]);
  });
});

it('KeyUse limits the tokens of a day in UTC, and starts anew at midnight', () => {
  const DAY_MS = 86_400_000;
  nowMs = DAY_MS - 20_000;
  const use = new KeyUse(
    { name: 'a', digest: digestOf('x'), tokensPerMinute: 900, tokensPerDay: 1_000 },
    { makeBudget },
  );
  use.startRequest();
  expect(use.headers()['x-ratelimit-remaining-tokens']).toBe('900');
  use.startAnswers(1, 700);
  // What other coordinators wrote, this one's own included, is not added to its count.
  use.usedToday(850);
  use.usedToday(800);
  expect(use.headers()).toMatchObject({ 'x-ratelimit-limit-tokens': '1000', 'x-ratelimit-remaining-tokens': '150' });
  expect(reasonOf(() => use.startAnswers(1, 160))).toBe('tokens 20');
  const hold = use.startAnswers(1, 140);
  for (let token = 0; token < 40; token++) hold.onToken();
  expect(reasonOf(() => use.startRequest())).toBe('tokens 20');
  nowMs = DAY_MS;
  use.startRequest();
  expect(use.headers()).toMatchObject({ 'x-ratelimit-limit-tokens': '900' });
  nowMs += 60_000;
  use.startAnswers(1, 900);
  expect(use.headers()).toMatchObject({ 'x-ratelimit-remaining-tokens': '0', 'x-ratelimit-limit-tokens': '900' });
  nowMs += 60_000;
  expect(use.headers()).toMatchObject({ 'x-ratelimit-remaining-tokens': '100', 'x-ratelimit-limit-tokens': '1000' });
});

describe('ApiKeys', () => {
  it('keeps what a key has used when its limits change, and starts anew with another token', () => {
    const access = open({
      apiKeys: [
        entry('a', 'key-a', { requestsPerMinute: 5 }),
        entry('b', 'key-b', { requestsPerMinute: 5, maxConcurrent: 1, tokensPerDay: 100 }),
      ],
    });
    const keys = new ApiKeys(access, { makeBudget });
    const a = keys.find('key-a')!;
    const b = keys.find('key-b')!;
    for (const use of [a, b]) use.startRequest();
    b.startAnswers(1, 70);
    write({
      apiKeys: [
        entry('a', 'new-key-a', { requestsPerMinute: 5 }),
        entry('b', 'key-b', { requestsPerMinute: 5, maxConcurrent: 1, tokensPerDay: 60 }),
        entry('c', 'key-c'),
      ],
    });
    access.reload();
    expect(keys.find('key-a')).toBeUndefined();
    expect(keys.find('new-key-a')!.headers()['x-ratelimit-remaining-requests']).toBe('5');
    // An answer still runs, and a limit that is the same is used as far as before.
    expect(keys.find('key-b')).toBe(b);
    expect(b.headers()).toMatchObject({ 'x-ratelimit-remaining-requests': '4', 'x-ratelimit-limit-tokens': '60' });
    expect(reasonOf(() => b.startAnswers(1, 1))).toBe('concurrency 1');
    expect(reasonOf(() => b.startRequest())).toMatch(/^tokens/);
    expect(keys.uses.map((use) => use.key.name)).toEqual(['a', 'b', 'c']);
    write({});
    access.reload();
    expect(keys.required).toBe(false);
  });

  it('records what is used, by key and model', () => {
    const access = open({ apiKeys: [entry('a', 'key-a', { requestsPerMinute: 1 })] });
    const recorded: unknown[] = [];
    const keys = new ApiKeys(access, { makeBudget, record: (...told) => recorded.push(told) });
    const use = keys.find('key-a')!;
    use.startRequest();
    use.startAnswers(1, 12, 'pirates').onToken();
    expect(reasonOf(() => use.startRequest())).toMatch(/^requests/);
    keys.anyone.startAnswers(2, 5);
    expect(recorded).toEqual([
      ['a', 'pirates', { requests: 1, promptTokens: 12 }],
      ['a', 'pirates', { completionTokens: 1 }],
      ['a', undefined, { refusals: 1 }],
      ['', undefined, { requests: 1, promptTokens: 5 }],
    ]);
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
