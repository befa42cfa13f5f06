import { beforeEach, describe, expect, it } from 'vitest';
import { EventLog, type NewEvent } from './event-log.ts';

it('EventLog keeps the newest thousand events in order, and tells its listeners until they unsubscribe', () => {
  const log = new EventLog();
  const heard: number[] = [];
  const listener = ({ seq }: { seq: number }): unknown => heard.push(seq);
  log.events.on('added', listener);
  for (let i = 0; i < 1500; i++) {
    if (i === 10) log.events.off('added', listener);
    log.add({ level: 'info', kind: 'server', text: `event ${i}` });
  }
  expect(heard).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(log.all()).toHaveLength(1000);
  expect(log.all()[0]).toMatchObject({ seq: 501, text: 'event 500' });
  expect(log.all().at(-1)?.seq).toBe(1500);
});

describe('EventLog, about the tabs of strangers', () => {
  let nowMs = 0;
  let log: EventLog;
  beforeEach(() => {
    nowMs = 0;
    log = new EventLog(() => nowMs);
  });
  const add = (address: string, peerId: string, text: string, level: NewEvent['level'] = 'info'): void =>
    log.add({ level, kind: 'peer', text, peerId }, address);
  const count = (part: string): number => log.all().filter(({ text }) => text.includes(part)).length;

  it('has room for all that a school class says, and leaves out what one address adds beyond it', () => {
    for (let tab = 0; tab < 40; tab++)
      for (const text of ['joined', 'probation', 'serves', 'left']) add('10.0.0.1', `tab-${tab}`, text);
    expect(log.all()).toHaveLength(160);
    for (let tab = 40; tab < 500; tab++) add('10.0.0.1', `tab-${tab}`, 'joined');
    expect(log.all().filter(({ kind }) => kind === 'peer')).toHaveLength(200);
    expect(count('Further events of tabs from 10.0.0.1 (info)')).toBe(1);
    add('10.0.0.2', 'tab-1000', 'other joined');
    nowMs = 60_000;
    add('10.0.0.1', 'tab-1001', 'joined later');
    expect([count('other joined'), count('joined later')]).toEqual([1, 1]);
  });

  it('hears of a misdeed whatever its author has said, and of the other tabs of its address', () => {
    for (let i = 0; i < 500; i++)
      for (let tab = 0; tab < 6; tab++) add('10.0.0.1', `tab-${tab}`, i % 2 === 0 ? 'was paused' : 'was resumed');
    expect(count('was ')).toBe(6 * 12);
    expect(count('Further events of tab-5 (info)')).toBe(1);
    add('10.0.0.1', 'tab-6', 'a neighbour joined');
    add('10.0.0.1', 'tab-0', 'broke the protocol', 'error');
    add('10.0.0.1', 'tab-0', 'dismissed', 'warning');
    expect([count('neighbour'), count('broke'), count('dismissed')]).toEqual([1, 1, 1]);
    for (let tab = 7; tab < 500; tab++) add('10.0.0.1', `tab-${tab}`, 'joined');
    add('10.0.0.1', 'tab-7', 'expelled', 'error');
    expect(count('expelled')).toBe(1);
  });

  it('counts the IPv6 networks of a home together, in proportion to their shares', () => {
    for (let i = 0; i < 2_000; i++) add(`2001:db8:1:${(i % 256).toString(16)}::1`, `tab-${i}`, 'joined');
    expect(count('joined')).toBe(400);
    for (let i = 0; i < 2_000; i++) add(`2001:db8:1:${((i % 250) + 2).toString(16)}00::1`, `other-${i}`, 'came');
    expect(count('came')).toBe(400);
    add('2001:db8:2::1', 'tab-9999', 'neighbour joined');
    expect(count('neighbour')).toBe(1);
  });
});
