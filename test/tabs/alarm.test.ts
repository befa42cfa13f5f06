import { expect, test } from 'vitest';
import { Alarm } from './alarm.ts';

test('an alarm calls in the order of the times, never early, and again after it has slept', async () => {
  const alarm = new Alarm();
  const called: { name: string; lateMs: number }[] = [];
  const startMs = performance.now();
  const set = (name: string, afterMs: number): Promise<void> =>
    new Promise((resolve) => {
      const dueMs = startMs + afterMs;
      alarm.at(dueMs, () => {
        called.push({ name, lateMs: performance.now() - dueMs });
        resolve();
      });
    });
  await Promise.all([set('third', 3.5), set('first', 0.3), set('second', 2.1), set('second, set later', 2.1)]);
  await set('fourth', 5.7);
  expect(called.map(({ name }) => name)).toEqual(['first', 'second', 'second, set later', 'third', 'fourth']);
  expect(Math.min(...called.map(({ lateMs }) => lateMs))).toBeGreaterThanOrEqual(0);
  await alarm.close();
});
