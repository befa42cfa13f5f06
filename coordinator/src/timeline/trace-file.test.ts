import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TraceEvent, TraceFile } from './trace-file.ts';

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shoal-trace-'));
  path = join(dir, 'trace.json');
});
afterEach(() => rm(dir, { recursive: true }));

const event = (ts: number): TraceEvent => ({ name: 'layer 3', ph: 'X', ts, dur: 2, pid: 1, tid: 1 });
const read = async (): Promise<TraceEvent[]> => JSON.parse(await readFile(path, 'utf8')) as TraceEvent[];

describe('TraceFile', () => {
  it('is valid JSON when it was closed, in the order of the events', async () => {
    const file = await TraceFile.open({ path });
    for (let ts = 0; ts < 5000; ts++) file.write(event(ts));
    await file.close();
    const events = await read();
    expect(events.slice(0, -1)).toEqual(Array.from({ length: 5000 }, (_, ts) => event(ts)));
    expect(events.at(-1)).toMatchObject({ name: 'end of the trace (closed)', ph: 'i', ts: 4999, args: { dropped: 0 } });
    file.write(event(1));
    await file.close();
    expect(await read()).toHaveLength(5001);
  });

  it('lacks only its bracket while it is written, or after a kill', async () => {
    const file = await TraceFile.open({ path });
    for (let ts = 0; ts < 5000; ts++) file.write(event(ts));
    let text = '';
    // A read may happen in the middle of a write.
    while (text.length < 65_536 || !text.endsWith(',\n')) text = await readFile(path, 'utf8');
    const events = JSON.parse(`${text.slice(0, -2)}]`) as TraceEvent[];
    expect(events[100]).toEqual(event(100));
    await file.close();
  });

  it('grows to its limit and no further, and says so', async () => {
    const file = await TraceFile.open({ path, maxBytes: 10_000 });
    for (let ts = 0; ts < 1000; ts++) file.write(event(ts));
    await file.close();
    expect((await stat(path)).size).toBeLessThanOrEqual(10_000);
    const events = await read();
    expect(events.length).toBeGreaterThan(100);
    expect(events.at(-1)!.name).toBe('end of the trace (full: 10000 bytes)');
  });

  it('drops and counts what the disk does not take in time', async () => {
    const file = await TraceFile.open({ path, maxBufferedBytes: 5_000 });
    for (let ts = 0; ts < 1000; ts++) file.write(event(ts));
    expect(file.dropped).toBeGreaterThan(500);
    await file.close();
    const events = await read();
    expect(events.length - 1 + file.dropped).toBe(1000);
    expect(events.at(-1)!.args).toEqual({ dropped: file.dropped });
  });

  it('that cannot be written is refused by name', async () => {
    await expect(TraceFile.open({ path: join(dir, 'no', 'such.json') })).rejects.toThrow(
      /trace cannot be written to .*such/,
    );
  });
});
