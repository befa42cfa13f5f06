import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Nudge } from './nudge.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function nudged(): { nudge: Nudge; atMs: number[] } {
  const startMs = performance.now();
  const atMs: number[] = [];
  const submit = (): undefined => void atMs.push(Math.round(performance.now() - startMs));
  return { nudge: new Nudge({ submit } as unknown as GPUQueue), atMs };
}

it('submits nothing more and more rarely while a result is waited for, and not after', async () => {
  const { nudge, atMs } = nudged();
  const waiting = nudge.during(new Promise<void>((resolve) => setTimeout(resolve, 30)));
  await vi.advanceTimersByTimeAsync(30);
  await waiting;
  // Timers are of whole milliseconds.
  expect(atMs).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22, 27]);
  await vi.advanceTimersByTimeAsync(1000);
  expect(atMs).toHaveLength(14);
});

it('begins anew with a further submit', async () => {
  const { nudge, atMs } = nudged();
  const later = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
  const waiting = nudge.during(later(40));
  await vi.advanceTimersByTimeAsync(28);
  const more = nudge.during(later(2));
  await vi.advanceTimersByTimeAsync(20);
  await Promise.all([waiting, more]);
  expect(atMs.filter((ms) => ms > 27)).toEqual([29, 30, 31, 32, 33, 34, 35, 36, 38]);
});

it('ends with the last result, also where it fails', async () => {
  const { nudge, atMs } = nudged();
  const failing = nudge.during(Promise.reject(new Error('gone')));
  await expect(failing).rejects.toThrow('gone');
  await vi.advanceTimersByTimeAsync(100);
  expect(atMs).toEqual([]);
});
