import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EventLog } from '../base/event-log.ts';
import { memoryDatabase } from '../database/testing/memory-database.ts';
import type { SharedDatabase } from '../database/index.ts';
import { Quarantine } from '../trust/quarantine.ts';
import { Records } from './records.ts';
import { deleteOld } from './retention.ts';

const LIAR = { donorId: 'liar', address: '192.0.2.1' };

let database: SharedDatabase;
let records: Records;

beforeEach(async () => {
  database = await memoryDatabase();
});
afterEach(async () => {
  await records.close();
  await database.close();
});

const open = (events = new EventLog(), quarantine = new Quarantine()) =>
  Records.open(database, events, quarantine, 'host:8787').then((opened) => (records = opened));

describe('Records', () => {
  it('have events of before, in order and with their numbers, before those of this process', async () => {
    const first = new EventLog();
    first.add({ level: 'info', kind: 'server', text: 'before the database' });
    await open(first);
    first.add({ level: 'warning', kind: 'peer', text: 'a\0b', peerId: 'tab-1' });
    await records.close();
    const second = new EventLog();
    second.add({ level: 'info', kind: 'server', text: 'the second' });
    await open(second);
    expect(second.all()).toMatchObject([
      { seq: 1, text: 'before the database' },
      { seq: 2, level: 'warning', kind: 'peer', text: 'ab', peerId: 'tab-1' },
      { seq: 1, text: 'the second' },
    ]);
    expect(second.all()[0]!.timeMs).toBe(first.all()[0]!.timeMs);
    expect(second.all()[0]).not.toHaveProperty('peerId');
  });

  it('write each quarantine at once, and take up what another has written', async () => {
    const quarantine = new Quarantine();
    await open(new EventLog(), quarantine);
    const untilMs = quarantine.add(LIAR);
    await expect
      .poll(() => database.db.selectFrom('quarantine').select('key').orderBy('key').execute())
      .toEqual([{ key: 'address 192.0.2.1' }, { key: 'donor liar' }]);
    const next = new Quarantine();
    await open(new EventLog(), next);
    expect(next.until(LIAR)! - untilMs).toBeLessThan(1_000);
    expect(next.kept()).toMatchObject([{ failures: 1 }, { failures: 1 }]);
  });

  it('tell the event log when the database is away and back', async () => {
    const events = new EventLog();
    await open(events);
    database.cut();
    await database.db
      .selectFrom('usage')
      .selectAll()
      .execute()
      .catch(() => {});
    database.heal();
    await expect
      .poll(() => events.all().map(({ text }) => text), { timeout: 90_000 })
      .toEqual([
        expect.stringMatching(/^The database does not answer/),
        expect.stringMatching(/^The database is back after \d+ s/),
      ]);
  });

  it('forget what is older than they keep', async () => {
    await open();
    await sql`insert into events (at, member, seq, level, kind, text)
      values (now() - interval '31 days', 'c', 1, 'info', 'server', 'old'), (now(), 'c', 2, 'info', 'server', 'new')`.execute(
      database.db,
    );
    await sql`insert into donors (donor, last_seen) values ('old', now() - interval '366 days'), ('new', now())`.execute(
      database.db,
    );
    await sql`insert into donor_days (donor, day) values ('old', '2020-01-01'), ('new', '2020-01-01')`.execute(
      database.db,
    );
    await sql`insert into quarantine (key, failures, at, until) values
      ('donor old', 1, now() - interval '9 days', null),
      ('donor long', 9, now() - interval '9 days', now() + interval '1 day')`.execute(database.db);
    await deleteOld(database);
    expect(await database.db.selectFrom('events').select('text').execute()).toEqual([{ text: 'new' }]);
    expect(await database.db.selectFrom('donors').select('donor').execute()).toEqual([{ donor: 'new' }]);
    expect(await database.db.selectFrom('donor_days').select('donor').execute()).toEqual([{ donor: 'new' }]);
    expect(await database.db.selectFrom('quarantine').select('key').execute()).toEqual([{ key: 'donor long' }]);
  });
});
