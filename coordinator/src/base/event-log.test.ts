import { expect, it } from 'vitest';
import { EventLog } from './event-log.ts';

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

it('EventLog leaves out what one address adds beyond measure, says so once, and hears the others', () => {
  let nowMs = 0;
  const log = new EventLog(() => nowMs);
  const add = (address: string): void =>
    log.add({ level: 'info', kind: 'peer', text: `joined from ${address}` }, address);
  for (let i = 0; i < 500; i++) add('10.0.0.1');
  add('10.0.0.2');
  const texts = log.all().map(({ text }) => text);
  expect(texts.filter((text) => text === 'joined from 10.0.0.1')).toHaveLength(120);
  expect(texts.filter((text) => text.includes('left out'))).toHaveLength(1);
  expect(texts.at(-1)).toBe('joined from 10.0.0.2');
  nowMs = 60_000;
  add('10.0.0.1');
  expect(log.all().at(-1)!.text).toBe('joined from 10.0.0.1');
});
