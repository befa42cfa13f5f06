import { expect, it } from 'vitest';
import { ChromeTrace } from './chrome-trace.ts';
import type { TraceEvent } from './trace-file.ts';

const BY = { microBatch: 2, pass: 7 };
const LAP = { layer: 3, rows: 4, sentBytes: 100, receivedBytes: 90, queueMs: 0, computeMs: 4 };

/** [row, name, from, to] of the spans, in milliseconds; rows by their names. */
function spans(events: readonly TraceEvent[]): [string, string, number, number][] {
  const rowName = ({ pid, tid }: TraceEvent): string =>
    String(events.find((each) => each.ph === 'M' && each.pid === pid && each.tid === tid)?.args?.['name']);
  return events
    .filter(({ ph }) => ph === 'X')
    .map((event) => [rowName(event), event.name, event.ts / 1000, (event.ts + event.dur!) / 1000]);
}

it('ChromeTrace has a row for each resource, and places queue and compute within the lap', () => {
  const events: TraceEvent[] = [];
  const trace = new ChromeTrace((event) => events.push(event), 1000);
  trace.segment({ kind: 'gate', layer: 3, numRows: 4, queuedMs: 1000, startedMs: 1001, endedMs: 1003 }, BY);
  trace.lap({ ...LAP, lapId: 11, startedMs: 1003, endedMs: 1023, queueMs: 6 }, 'p1', BY);
  trace.wait({ ...BY, layer: 3, startedMs: 1004, endedMs: 1023 });
  trace.localExperts({ layer: 4, rows: 4, startedMs: 1023, endedMs: 1024 }, BY);
  trace.pass({ ...BY, rows: 4, sequences: 4, startedMs: 1000, endedMs: 1025 });
  expect(spans(events)).toEqual([
    ['engine', 'gate 3', 1, 3],
    ['wire', 'out', 3, 8],
    ['wire', 'back', 18, 23],
    ['p1', 'queue 3', 8, 14],
    ['p1', 'compute 3', 14, 18],
    ['micro-batch 2', 'waits for layer 3', 4, 23],
    ['local experts', 'layer 4', 23, 24],
    ['micro-batch 2', 'pass', 0, 25],
  ]);
  expect(events.find(({ name }) => name === 'out')!.args).toEqual({
    lap: 11,
    layer: 3,
    rows: 4,
    peer: 'p1',
    ...BY,
    bytes: 100,
  });
});

it('ChromeTrace puts what overlaps on different rows, and uses a free row again', () => {
  const events: TraceEvent[] = [];
  const trace = new ChromeTrace((event) => events.push(event), 0);
  for (const [lapId, startedMs] of [0, 5, 21].entries()) {
    trace.lap({ ...LAP, lapId, startedMs, endedMs: startedMs + 20, computeMs: 20 }, 'p1', undefined);
  }
  trace.lap({ ...LAP, lapId: 3, startedMs: 60, endedMs: 70, failure: 'deadline' }, 'p1', undefined);
  const rows = spans(events).map(([row, name]) => [row, name]);
  expect(rows.filter(([, name]) => name === 'compute 3')).toEqual([
    ['p1', 'compute 3'],
    ['p1 (2)', 'compute 3'],
    ['p1', 'compute 3'],
  ]);
  expect(rows.at(-1)).toEqual(['wire', 'deadline']);
});
