import { expect, it } from 'vitest';
import { usageCsv, usageWindow } from './usage-query.ts';

const NOW_MS = Date.UTC(2026, 10, 30, 23, 59);

it('asks for the thirty days until today, told apart by everything, unless it is told otherwise', () => {
  expect(usageWindow({}, NOW_MS)).toEqual({ from: '2026-11-01', to: '2026-11-30', by: ['key', 'day', 'model'] });
  expect(usageWindow({ to: '2026-03-01', by: 'model,key' }, NOW_MS)).toEqual({
    from: '2026-01-31',
    to: '2026-03-01',
    by: ['key', 'model'],
  });
});

it.each([
  [{ from: '2026-11-02', to: '2026-11-01' }, 'from (2026-11-02) is after to'],
  [{ from: '2025-01-01' }, 'are 699 days; ask for 366 at most'],
])('refuses %j', (query, words) => {
  expect(() => usageWindow(query, NOW_MS)).toThrow(
    expect.objectContaining({ reason: 'invalid', message: expect.stringContaining(words) }),
  );
});

it('writes CSV with the parts that were asked for, and no formula', () => {
  const figures = { requests: 2, refusals: 0, promptTokens: 30, completionTokens: 40 };
  const rows = [
    { key: '', model: 'a, b', ...figures },
    { key: '=1+1', model: '"', ...figures },
  ];
  const csv = usageCsv({ from: '2026-11-01', to: '2026-11-30', rows }, ['key', 'model']);
  expect(csv.split('\r\n')).toEqual([
    'key,model,requests,refusals,promptTokens,completionTokens',
    ',"a, b",2,0,30,40',
    '\'=1+1,"""",2,0,30,40',
    '',
  ]);
});
