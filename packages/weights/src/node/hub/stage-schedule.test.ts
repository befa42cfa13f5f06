import { expect, it } from 'vitest';
import type { ScheduledJob } from '../jobs.ts';
import { scheduleStage, type StoredBytes } from './stage-schedule.ts';

const tensor = (file: string, offset: number, bytes: number): StoredBytes => ({ file, offset, bytes });
const job = (key: string): ScheduledJob => {
  return { key, job: { kind: 'dense', name: key }, specs: [], sourceBytes: 1, packedBytes: 1 };
};
const [a, b, c] = [tensor('1', 0, 10), tensor('1', 10, 30), tensor('2', 0, 40)];
const needs = { x: [a], y: [b, c] } as Record<string, StoredBytes[]>;

function schedule(present: [string, number][] = [], kept: readonly StoredBytes[] = [], keys = ['x', 'y', 'z']) {
  const { steps, ...rest } = scheduleStage({
    jobs: keys.map(job),
    needs: ({ key }) => needs[key] ?? [],
    fetched: new Map([
      ['1', 100],
      ['2', 50],
      ['3', 7],
    ]),
    present: new Map(present),
    kept: (one) => kept.some(({ file, offset }) => file === one.file && offset === one.offset),
  });
  return { ...rest, steps: steps.map(({ jobs, ...step }) => ({ ...step, jobs: jobs.map(({ key }) => key) })) };
}

it('scheduleStage fetches a file at a time, and keeps what a job of a later file needs', () => {
  expect(schedule()).toEqual({
    steps: [
      { file: undefined, jobs: ['z'], keep: [], drop: [] },
      { file: '1', jobs: ['x'], keep: [b], drop: [] },
      { file: '2', jobs: ['y'], keep: [], drop: [b] },
    ],
    held: [],
    // The first file, and what is kept of it.
    roomBytes: 130,
  });
});

it.each<[string, Parameters<typeof schedule>, number]>([
  ['a whole file that is used now', [[['1', 100]]], 30],
  ['a file that lies here until it is used later', [[['2', 20]]], 130],
  ['a tensor of a file that is not needed any more', [[], [b], ['y']], 50],
  ['a file that is not needed any more', [[['3', 7]], [], ['x']], 100],
])('scheduleStage counts what an earlier run has left: %s', (_, args, roomBytes) => {
  expect(schedule(...args).roomBytes).toBe(roomBytes);
});
