import type { ExpertBackend } from '@shoal/kernels';
import type { WorkItem } from '@shoal/model';
import type { DataChannelLike } from '@shoal/transport';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Line, LineChannel, RETRANSMISSION_MS } from './line.ts';
import { type Pace, pacedBackend } from './paced-backend.ts';

// The clock stands still: a busy machine would count as time that the line took.
beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

/** Rings at once, and records when it would have. */
function fakeAlarm() {
  const setForMs: number[] = [];
  const at = (dueMs: number, run: () => void): void => {
    setForMs.push(dueMs - performance.now());
    run();
  };
  return { at, setForMs };
}

/** Records what a channel was given, and can let a message arrive. */
function fakeChannel() {
  const sent: Uint8Array[] = [];
  let listener: ((event: { data: unknown }) => void) | undefined;
  const channel = {
    readyState: 'open',
    send: (data: Uint8Array) => void sent.push(data),
    addEventListener: (type: string, given: typeof listener) => {
      if (type === 'message') listener = given;
    },
  } as unknown as DataChannelLike;
  return { channel, sent, arrive: (data: unknown) => listener!({ data }) };
}

function lineOf(roundTripMs: number, loss: number, random = 0.5) {
  const alarm = fakeAlarm();
  const line = new Line(alarm, () => random);
  line.set({ roundTripMs, loss });
  const wire = fakeChannel();
  const received: unknown[] = [];
  const far = new LineChannel(wire.channel, line);
  far.addEventListener('message', ({ data }) => void received.push(data));
  return { alarm, line, wire, far, received };
}

test('a line takes half its round trip each way', () => {
  const { alarm, line, wire, far, received } = lineOf(30, 0);
  far.send(Uint8Array.of(1, 2));
  wire.arrive('answer');
  expect(alarm.setForMs.map((ms) => Math.round(ms))).toEqual([15, 15]);
  expect(wire.sent).toEqual([Uint8Array.of(1, 2)]);
  expect(received).toEqual(['answer']);
  // The actual time, which is near zero here.
  expect(line.held().out.p50).toBeLessThan(5);
});

test('what is lost comes after a retransmission, and what is sent may be written to again', () => {
  const { alarm, wire, far } = lineOf(30, 0.1, 0.05);
  const message = Uint8Array.of(1);
  far.send(message);
  message[0] = 9;
  expect(Math.round(alarm.setForMs[0]!)).toBe(15 + RETRANSMISSION_MS);
  expect(wire.sent).toEqual([Uint8Array.of(1)]);
});

test('a line of no length is not there', () => {
  const { alarm, wire, far, received } = lineOf(0, 0);
  const message = Uint8Array.of(1);
  far.send(message);
  wire.arrive('answer');
  expect(wire.sent[0]).toBe(message);
  expect([received, alarm.setForMs]).toEqual([['answer'], []]);
});

test('a paced backend answers as a slower one would, one lap after another, with the same result', async () => {
  const partial = Float32Array.of(1, 2);
  const backend = { name: 'wasm', run: async () => ({ partial, computeUs: 40 }) } as unknown as ExpertBackend;
  const alarm = fakeAlarm();
  const meter = { busyMs: 0, laps: 0, rows: 0 };
  let pace: Pace = { lapOverheadMs: 2, assignmentsPerSecond: 1000 };
  const paced = pacedBackend(backend, alarm, () => pace, meter);
  const lap = { numRows: 2, experts: new Uint16Array(8) } as unknown as WorkItem;
  const outputs = [await paced.run(lap), await paced.run(lap)];
  // 2 ms plus 8 assignments at 1 ms; the second waits for the first.
  const [first, second] = alarm.setForMs;
  expect(first).toBe(10);
  expect(second).toBe(20);
  expect(outputs.map((output) => output.partial)).toEqual([partial, partial]);
  expect(meter).toEqual({ busyMs: 0.08, laps: 2, rows: 4 });
  pace = { lapOverheadMs: 0, assignmentsPerSecond: Number.POSITIVE_INFINITY };
  expect((await paced.run(lap)).computeUs).toBe(40);
  expect(paced.name).toBe('wasm');
});
