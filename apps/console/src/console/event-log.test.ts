import type { ConsoleEvent } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { csvCell, EVENTS_KEPT, eventsToCsv, eventsToJson, filterEvents, mergeEvents } from './event-log.ts';

const event = (seq: number, rest: Partial<ConsoleEvent> = {}): ConsoleEvent => ({
  seq,
  timeMs: 1_700_000_000_000 + seq,
  level: 'info',
  kind: 'peer',
  text: `event ${seq}`,
  ...rest,
});

describe('merging', () => {
  it('keeps one of an event that came twice, in order', () => {
    const merged = mergeEvents([event(1), event(2)], [event(2), event(4), event(3)]);
    expect(merged.map((e) => e.seq)).toEqual([1, 2, 3, 4]);
  });
  it('keeps both of two events with one number from two lives of the coordinator', () => {
    const again = event(1, { timeMs: 1_800_000_000_000, text: 'restarted' });
    expect(mergeEvents([event(1)], [again]).map((e) => e.text)).toEqual(['event 1', 'restarted']);
  });
  it('drops the oldest beyond its bound', () => {
    const many = Array.from({ length: EVENTS_KEPT + 5 }, (_, i) => event(i));
    const merged = mergeEvents([], many);
    expect(merged.length).toBe(EVENTS_KEPT);
    expect(merged[0]?.seq).toBe(5);
  });
});

describe('filtering', () => {
  const all = [
    event(1, { level: 'error', text: 'Tab 7 vanished' }),
    event(2, { kind: 'lap', text: '12 rows went to tab 2' }),
    event(3, { kind: 'lap', level: 'warning', peerId: 'pX9' }),
  ];
  const seqs = (filter: Parameters<typeof filterEvents>[1]) => filterEvents(all, filter).map((e) => e.seq);
  it('combines level, kind and words, whatever their case', () => {
    expect(seqs({ level: 'all', kind: 'all', text: '' })).toEqual([1, 2, 3]);
    expect(seqs({ level: 'error', kind: 'all', text: '' })).toEqual([1]);
    expect(seqs({ level: 'all', kind: 'lap', text: 'ROWS ' })).toEqual([2]);
    expect(seqs({ level: 'all', kind: 'all', text: 'px9' })).toEqual([3]);
    expect(seqs({ level: 'error', kind: 'lap', text: '' })).toEqual([]);
  });
});

describe('export', () => {
  it('escapes what CSV needs escaped and disarms formulas', () => {
    expect(csvCell('plain')).toBe('plain');
    expect(csvCell('a, "b"\nc')).toBe('"a, ""b""\nc"');
    expect(csvCell('=HYPERLINK("x")')).toBe(`"'=HYPERLINK(""x"")"`);
    expect(csvCell('@cmd')).toBe("'@cmd");
  });
  it('writes a header and one line per event', () => {
    const csv = eventsToCsv([event(1, { text: 'one, two', peerId: 'p1' })]);
    expect(csv).toBe(
      'seq,time,level,kind,peerId,coordinator,text\r\n1,2023-11-14T22:13:20.001Z,info,peer,p1,,"one, two"\r\n',
    );
  });
  it('writes JSON that reads back equal', () => {
    expect(JSON.parse(eventsToJson([event(1), event(2)]))).toEqual([event(1), event(2)]);
  });
});
