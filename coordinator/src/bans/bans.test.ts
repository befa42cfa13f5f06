import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { shareDatabase, type SharedDatabase } from '../database/index.ts';
import { memoryDatabase } from '../database/testing/memory-database.ts';
import { type BanError, Bans, MAX_BANS, type NewBan } from './bans.ts';
import { StoredBans } from './stored-bans.ts';

const DONOR = '0123456789abcdef';
const tab = (address = '192.0.2.1', donorId = DONOR, number = 0) => ({ donorId, tab: number, address });
const ban = (subject: string, more: Partial<NewBan> = {}): NewBan => ({
  kind: 'ban',
  subject,
  label: '',
  reason: '',
  by: 'otto',
  untilMs: Number.POSITIVE_INFINITY,
  ...more,
});
const refusal = (work: Promise<unknown>): Promise<BanError> =>
  work.then(
    () => expect.unreachable('should have been refused'),
    (error: BanError) => error,
  );

describe('bans in memory', () => {
  let nowMs: number;
  let bans: Bans;
  beforeEach(() => {
    nowMs = 1_000_000;
    bans = new Bans(() => nowMs);
  });

  it('keep a donor out with all tabs until they end or are lifted, and nobody else', async () => {
    await bans.add(ban(`donor ${DONOR}`, { untilMs: nowMs + 60_000, reason: 'noise' }));
    expect(bans.of(tab())).toMatchObject({ kind: 'ban', reason: 'noise', by: 'otto' });
    expect(bans.of(tab('198.51.100.1', DONOR, 3))).toBeDefined();
    expect(bans.of(tab('192.0.2.1', 'fedcba9876543210'))).toBeUndefined();
    nowMs += 60_000;
    expect([bans.of(tab()), bans.all]).toEqual([undefined, []]);
    await bans.add(ban(`donor ${DONOR}`));
    await bans.lift(bans.all[0]!.id, 'vera');
    expect(bans.of(tab())).toBeUndefined();
    expect(await refusal(bans.lift(1, 'vera'))).toMatchObject({ reason: 'unknown' });
  });

  it('know a donor by its key and by its token', async () => {
    await bans.add(ban(`donor ${DONOR} aaaaaaaaaaaaaaaa`));
    const other = 'bbbbbbbbbbbbbbbb';
    expect(bans.of({ ...tab(), tokenId: other })).toBeDefined();
    expect(bans.of({ ...tab(), donorId: other, tokenId: 'aaaaaaaaaaaaaaaa' })).toBeDefined();
    expect(bans.of({ ...tab(), donorId: other })).toBeUndefined();
  });

  it('keep a network out, of either family', async () => {
    await bans.add(ban('network 192.0.2.0/24'));
    await bans.add(ban('network 2001:db8:1::/48'));
    await bans.add(ban('network 198.51.100.7'));
    const isOut = (address: string): boolean => bans.of(tab(address)) !== undefined;
    const outside = ['192.0.3.1', '2001:db8:2::1', '198.51.100.8', 'unknown'];
    expect(['192.0.2.200', '2001:db8:1:5::1', '198.51.100.7'].map(isOut)).toEqual([true, true, true]);
    expect(outside.map(isOut)).toEqual(outside.map(() => false));
  });

  it.each(['', 'localhost', '10.0.0.0/33', '10.0.0.0/', '0.0.0.0/0', '10.0.0.0/8/8', '::/0', '10.0.0.1 '])(
    'refuse the network "%s", and say how one is written',
    async (network) => {
      const error = await refusal(bans.add(ban(`network ${network}`)));
      expect(error).toMatchObject({ reason: 'invalid', message: expect.stringContaining('as 10.1.2.3') });
    },
  );

  it('drain one tab of a donor; a ban comes before a drain, and of two the one that ends last', async () => {
    await bans.add(ban(`tab ${DONOR}/1`, { kind: 'drain' }));
    expect([bans.of(tab('192.0.2.1', DONOR, 1))?.kind, bans.of(tab())]).toEqual(['drain', undefined]);
    await bans.add(ban(`donor ${DONOR}`, { untilMs: nowMs + 2_000 }));
    await bans.add(ban(`donor ${DONOR}`, { untilMs: nowMs + 1_000 }));
    expect(bans.of(tab('192.0.2.1', DONOR, 1))).toMatchObject({ kind: 'ban', untilMs: nowMs + 2_000 });
  });

  it('are bounded', async () => {
    const many = Array.from({ length: MAX_BANS }, (_, id) => ({ ...ban(`donor ${id}`), id, atMs: 0 }));
    bans.replace(many);
    expect(await refusal(bans.add(ban(`donor ${DONOR}`)))).toMatchObject({ reason: 'full' });
  });
});

describe('bans in a database', () => {
  let database: SharedDatabase;
  let second: SharedDatabase;
  const both = [new Bans(), new Bans()] as const;
  let stored: StoredBans[];
  beforeAll(async () => {
    database = await memoryDatabase();
    second = shareDatabase(database)();
    stored = [await StoredBans.open(database, both[0]), await StoredBans.open(second, both[1])];
  });
  afterAll(async () => {
    for (const one of stored ?? []) await one.close();
    await second?.close();
    await database?.close();
  });

  it('hold at all coordinators and over a restart, until they are lifted anywhere', async () => {
    await both[0].add(ban(`donor ${DONOR}`, { reason: 'noise', label: 'tab-3', untilMs: Date.now() + 3_600_000 }));
    expect(both[0].of(tab())).toMatchObject({ reason: 'noise', label: 'tab-3' });
    await expect.poll(() => both[1].of(tab())?.reason).toBe('noise');
    const again = new Bans();
    const opened = await StoredBans.open(database, again);
    expect(again.of(tab())?.reason).toBe('noise');
    await opened.close();
    await both[1].lift(both[1].all[0]!.id, 'vera');
    await expect.poll(() => both[0].of(tab())).toBeUndefined();
    expect(await refusal(both[0].lift(1, 'vera'))).toMatchObject({ reason: 'unknown' });
  });

  it('end quarantines everywhere, also at those that start later', async () => {
    const heard: string[] = [];
    both[1].on('lifted', ({ key }) => heard.push(key));
    await both[0].liftQuarantine(`donor ${DONOR}`, 'vera');
    await expect.poll(() => heard).toEqual([`donor ${DONOR}`]);
    const later = new Bans();
    later.on('lifted', ({ key }) => heard.push(key));
    await (await StoredBans.open(database, later)).close();
    expect(heard.length).toBeGreaterThan(1);
  });
});
