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
