import { sql } from 'kysely';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Contribution, ContributionReply, ContributionRequest } from '@shoal/protocol';
import { WriteQueue, type SharedDatabase } from '../database/index.ts';
import { memoryDatabase } from '../database/testing/memory-database.ts';
import { dayOf } from '../records/books.ts';
import { Contributions } from './contributions.ts';
import { fakeVisits, works } from './testing/fake-visits.ts';

const TODAY = dayOf(Date.now());

let database: SharedDatabase;
let queue: WriteQueue;
let swarm: ReturnType<typeof fakeVisits>;
let contributions: Contributions;

/** As after a restart of the coordinator. */
const open = (): void => {
  queue = new WriteQueue(database);
  swarm = fakeVisits();
  contributions = new Contributions({ swarm, records: { database, queue }, hasCredit: () => true });
};
const stop = async (): Promise<void> => {
  contributions.close();
  await queue.close();
};
beforeEach(async () => {
  database = await memoryDatabase();
  open();
});
afterEach(async () => {
  await stop();
});
afterAll(() => database.close());

/** A tab joins, and its donor's account is known. */
async function join(donorId: string, tokenId?: string) {
  const peer = swarm.join(donorId, tokenId);
  await expect.poll(() => peer.contribution(), { timeout: 60_000 }).toBeDefined();
  return peer;
}
const ask = (donor: string, request: ContributionRequest): Promise<ContributionReply> =>
  contributions.ask(donor, request);
async function done(donor: string, request: ContributionRequest) {
  const reply = await ask(donor, request);
  if (!reply.ok) throw new Error(reply.message);
  return reply;
}
const refusal = async (donor: string, request: ContributionRequest): Promise<string> => {
  const reply = await ask(donor, request);
  return reply.ok ? 'none' : reply.message;
};
/** The sums of the table, by donor. */
const rowsOf = async (donor: string) => {
  await queue.flush();
  const { rows } = await sql`
    select sum(tokens_helped) as tokens, sum(rows)::double precision as rows,
      sum(verified_rows)::double precision as "verifiedRows",
      sum(served_seconds) as "servedSeconds", sum(busy_seconds) as "busySeconds"
    from donor_days where donor = ${donor}`.execute(database.db);
  return rows[0];
};

describe('what donors did', () => {
  it('is the same on the page and in the database, over tabs, days and restarts', async () => {
    await sql`insert into donors (donor) values ('ann')`.execute(database.db);
    await sql`insert into donor_days (donor, day, tokens_helped, verified_rows, rows) values
      ('ann', '2020-01-01', 10, 5, 50), ('ann', ${TODAY}::date - 3, 20, 6, 60)`.execute(database.db);
    const first = swarm.join('ann');
    // Before its totals are known: nothing is written, nor lost.
    works(first, 30, 3);
    contributions.work.sample();
    expect(queue.rows).toBe(0);
    await expect.poll(() => first.contribution()).toBeDefined();
    const second = await join('ann');
    works(second, 70, 7);
    contributions.work.sample();
    const { today, week, total, sinceMs } = first.contribution()!;
    expect([today.tokens, week.tokens, total.tokens]).toEqual([10, 30, 40]);
    expect([today.rows, total.rows, total.verifiedRows]).toEqual([100, 210, 111]);
    expect(sinceMs).toBe(Date.parse('2020-01-01'));
    expect(await rowsOf('ann')).toEqual(total);

    swarm.leave(first);
    // Audits of its last rows end after it has left.
    works(first, 4, 1);
    await stop();
    open();
    const back = await join('ann');
    expect(back.contribution()!.total).toMatchObject({ tokens: 41, rows: 214 });
    works(back, 1, 1);
    contributions.work.sample();
    await contributions.work.refresh('ann');
    expect(back.contribution()!.total).toEqual(await rowsOf('ann'));
  });

  it('is what checks have confirmed, and nothing more once a wrong result was', async () => {
    const liar = await join('liar');
    works(liar, 64, 6);
    contributions.work.sample();
    // It goes on without an audit, and is found out.
    liar.trust.usedRows += 90;
    liar.tokensHelped += 9;
    contributions.work.sample();
    expect(liar.contribution()!.total).toMatchObject({ tokens: 6, rows: 64 });
    liar.trust.phase = 'quarantined';
    liar.trust.lastGoodRow = liar.trust.usedRows;
    liar.tokensForGuests = 50;
    liar.tokensHelped += 50;
    contributions.work.sample();
    expect(await rowsOf('liar')).toMatchObject({ tokens: 6, rows: 64 });
  });

  it('is nothing of donors that only join', async () => {
    const peer = await join('visitor');
    swarm.leave(peer);
    contributions.work.sample();
    expect(queue.rows).toBe(0);
    expect(await refusal('visitor', { do: 'name', name: 'Ann', listed: true })).toMatch(
      'Lend your GPU for a minute first',
    );
  });

  it('under a token belongs to the key that comes with it, once', async () => {
    const before = await join('token');
    works(before, 10, 5);
    swarm.leave(before);
    contributions.work.sample();
    await queue.flush();
    const peer = await join('key', 'token');
    expect(peer.contribution()!.total.tokens).toBe(5);
    works(peer, 10, 2);
    await stop();
    open();
    expect((await join('key', 'token')).contribution()).toMatchObject({
      proven: true,
      browsers: 1,
      total: { tokens: 7 },
    });
    expect((await join('token')).contribution()).toMatchObject({ proven: false, total: { tokens: 0 } });
  });

  it('is counted where nothing is kept, until the coordinator stops', async () => {
    const visits = fakeVisits();
    const unkept = new Contributions({ swarm: visits, records: undefined });
    const peer = visits.join('ann', 'token');
    works(peer, 10, 5);
    unkept.work.sample();
    expect(peer.contribution()).toMatchObject({ kept: false, total: { tokens: 5 }, credit: null });
    expect(await unkept.ask('ann', { do: 'link' })).toMatchObject({
      ok: false,
      message: expect.stringMatching('keeps nothing'),
    });
    expect(await unkept.ask('ann', { do: 'look' })).toMatchObject({ ok: true, contribution: { total: { tokens: 5 } } });
    unkept.close();
  });
});

describe('an account', () => {
  /** A donor that has done some work. */
  async function worker(donor: string, tokens = 10) {
    const peer = await join(donor);
    works(peer, 10 * tokens, tokens);
    contributions.work.sample();
    await queue.flush();
    return peer;
  }

  it('has a name of its own, which no other has, not even in capitals', async () => {
    const [ann] = [await worker('a'), await worker('b')];
    expect((await done('a', { do: 'name', name: 'Ann', listed: true })).contribution).toMatchObject({
      name: 'Ann',
      listed: true,
    });
    expect(ann.contribution()).toMatchObject({ name: 'Ann' });
    expect(await refusal('b', { do: 'name', name: 'ANN', listed: true })).toBe(
      'The name ANN is taken. Choose another.',
    );
    expect((await done('b', { do: 'look' })).contribution).toMatchObject({ name: null, total: { tokens: 10 } });
    // An operator takes it away.
    expect(await contributions.clearName('ann')).toBe(true);
    await contributions.work.refresh('a');
    expect(ann.contribution()).toMatchObject({ name: null, listed: false, total: { tokens: 10 } });
    await done('b', { do: 'name', name: 'ANN', listed: false });
  });

  it('takes another browser in by a code that works once, with what it did and what it owes', async () => {
    const [ann, bob] = [await worker('a', 10), await worker('b', 7)];
    await done('a', { do: 'name', name: 'Ann', listed: true });
    await done('b', { do: 'name', name: 'Bob', listed: true });
    await sql`update donors set spent = 5 where donor = 'b'`.execute(database.db);
    const { link } = await done('a', { do: 'link' });
    const { code } = link!;
    expect(link!.endsMs - Date.now()).toBeGreaterThan(14 * 60_000);
    expect(await refusal('c', { do: 'redeem', code: 'A'.repeat(32) })).toMatch(
      'used already, or is older than 15 minutes',
    );
    const { contribution } = await done('b', { do: 'redeem', code });
    const expected: Partial<Contribution> = { name: 'Ann', browsers: 2, credit: 12 };
    expect(contribution).toMatchObject({ ...expected, total: { tokens: 17 } });
    await contributions.work.refresh('a');
    expect(ann.contribution()).toMatchObject({ ...expected, total: { tokens: 17 } });
    expect(await refusal('c', { do: 'redeem', code })).toMatch('used already');
    // Both count for it from now on, and each sees it at once.
    works(bob, 10, 3);
    contributions.work.sample();
    expect([ann, bob].map((peer) => peer.contribution()!.total.tokens)).toEqual([20, 20]);
    // Its old name is free, and either browser may change the account's.
    await worker('d');
    await done('d', { do: 'name', name: 'Bob', listed: false });
    expect((await done('b', { do: 'name', name: 'Both', listed: false })).contribution.name).toBe('Both');
  });

  it('a code ends', async () => {
    await worker('a');
    const { link } = await done('a', { do: 'link' });
    await sql`update link_codes set ends_at = now() - interval '1 second'`.execute(database.db);
    expect(await refusal('b', { do: 'redeem', code: link!.code })).toMatch('older than 15 minutes');
    // A newer one takes its place, so that there is never more than one.
    const again = await done('a', { do: 'link' });
    await done('a', { do: 'link' });
    expect(await refusal('b', { do: 'redeem', code: again.link!.code })).toMatch('used already');
  });

  it('is in one team at most, which ends with its last member', async () => {
    await Promise.all([worker('a'), worker('b')]);
    const { contribution } = await done('a', { do: 'found-team', name: 'Class 3b' });
    const team = contribution.team!;
    expect(team.name).toBe('Class 3b');
    expect(await refusal('b', { do: 'found-team', name: 'class 3B' })).toMatch(
      'There is a team of the name class 3B already',
    );
    expect(await refusal('a', { do: 'found-team', name: 'Another' })).toMatch(
      'You have founded the team Class 3b already',
    );
    expect((await done('b', { do: 'join-team', team: team.id })).contribution.team).toEqual(team);
    expect(await refusal('b', { do: 'join-team', team: 999 })).toBe('There is no such team any more.');
    await done('a', { do: 'leave-team' });
    await done('b', { do: 'leave-team' });
    expect(await database.db.selectFrom('teams').selectAll().execute()).toEqual([]);
  });

  it('is deleted with all of its browsers, and counts anew', async () => {
    const [ann, bob] = [await worker('a'), await worker('b')];
    // Time would be credited at once.
    ann.serving = false;
    bob.serving = false;
    await done('a', { do: 'found-team', name: 'Alone' });
    const { link } = await done('a', { do: 'link' });
    await done('b', { do: 'redeem', code: link!.code });
    const { contribution } = await done('b', { do: 'delete' });
    expect(contribution).toMatchObject({ name: null, team: null, browsers: 1, total: { tokens: 0 } });
    for (const table of ['donors', 'donor_days', 'teams', 'link_codes'] as const)
      expect(await database.db.selectFrom(table).selectAll().execute()).toEqual([]);
    works(ann, 10, 4);
    contributions.work.sample();
    await contributions.work.refresh('a');
    expect(ann.contribution()).toMatchObject({ total: { tokens: 4 } });
    expect(await rowsOf('a')).toMatchObject({ tokens: 4 });
    expect(await database.db.selectFrom('donors').select('donor').execute()).toEqual([{ donor: 'a' }]);
  });
});
