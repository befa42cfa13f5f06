import type { UsageRow } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { changesOf, keyLimits, valuesOf } from './fields.ts';
import { usageByDay, usageByModel } from './usage.ts';

const KEY = {
  name: 'ann',
  note: '',
  created: null,
  by: null,
  revoked: null,
  requestsPerMinute: 60,
  tokensPerMinute: null,
  tokensPerDay: 200_000,
  maxConcurrent: null,
};

describe('the form of an entry', () => {
  it('sends what was changed alone, an emptied limit as null', () => {
    const before = valuesOf('keys', KEY);
    expect(before).toMatchObject({ requestsPerMinute: '60', tokensPerMinute: '', note: '' });
    expect(changesOf('keys', before, before)).toEqual({});
    const values = { ...before, requestsPerMinute: '', maxConcurrent: '4', note: ' hers ' };
    expect(changesOf('keys', values, before)).toEqual({ requestsPerMinute: null, maxConcurrent: 4, note: 'hers' });
  });

  it('has times to the minute in this time zone, and gives them back as they were', () => {
    const expires = '2030-01-31T12:34:00.000Z';
    const before = valuesOf('invites', { ...KEY, expires, maxPeers: null });
    expect(new Date(before['expires']!).toISOString()).toBe(expires);
    expect(changesOf('invites', { ...before, expires: '' }, before)).toEqual({ expires: null });
    const later = valuesOf('invites', { ...KEY, expires: '2031-02-01T08:00:00.000Z', maxPeers: null });
    expect(changesOf('invites', later, before)).toEqual({ expires: '2031-02-01T08:00:00.000Z' });
  });

  it('begins with an operator for an admin, and says limits in words', () => {
    expect(valuesOf('admins', undefined)).toEqual({ role: 'operator', note: '' });
    expect(keyLimits(KEY)).toBe('60 requests/min, 200,000 tokens/day');
    expect(keyLimits({ ...KEY, requestsPerMinute: null, tokensPerDay: null })).toBe('no limits');
  });
});

it('adds usage up by day, with the days that have none, and by model, the largest first', () => {
  const figures = { requests: 1, refusals: 0, promptTokens: 10, completionTokens: 5 };
  const rows: UsageRow[] = [
    { day: '2026-02-28', model: 'a', ...figures },
    { day: '2026-02-28', model: 'b', ...figures, promptTokens: 90 },
    { day: '2026-03-02', model: 'a', ...figures },
  ];
  expect(usageByDay({ from: '2026-02-27', to: '2026-03-02', rows })).toEqual([
    { day: '2026-02-27', tokens: 0 },
    { day: '2026-02-28', tokens: 110 },
    { day: '2026-03-01', tokens: 0 },
    { day: '2026-03-02', tokens: 15 },
  ]);
  expect(usageByModel(rows)).toEqual([
    { model: 'b', ...figures, promptTokens: 90 },
    { model: 'a', requests: 2, refusals: 0, promptTokens: 20, completionTokens: 10 },
  ]);
});
