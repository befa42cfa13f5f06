import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shareDatabase, type SharedDatabase } from '../database/index.ts';
import { memoryDatabase } from '../database/testing/memory-database.ts';
import { Settings, type SettingsError } from './settings.ts';
import { StoredSettings } from './stored-settings.ts';

const refusal = (work: Promise<unknown>): Promise<SettingsError> =>
  work.then(
    () => expect.unreachable('should have been refused'),
    (error: SettingsError) => error,
  );

describe('settings in memory', () => {
  it('are what the start says until they are changed, and again after a reset', async () => {
    const settings = new Settings({ replicas: 3 });
    const seen: number[] = [];
    const stop = settings.follow('replicas', (replicas) => seen.push(replicas));
    expect(await settings.change({ replicas: 5 }, 'otto')).toEqual([
      { name: 'replicas', from: '3 (the default)', to: '5' },
    ]);
    expect(settings.overrides()).toEqual([
      expect.stringMatching(/^replicas is 5 as otto set it on .*; --replicas says 3$/),
    ]);
    expect(await settings.change({ replicas: null, about: 'For the school.' }, 'otto')).toEqual([
      { name: 'about', from: '"" (the default)', to: '"For the school."' },
      { name: 'replicas', from: '5', to: '3 (the default)' },
    ]);
    stop();
    await settings.change({ replicas: 7 }, 'otto');
    expect(seen).toEqual([3, 5, 3]);
    expect(settings.get('replicas')).toBe(7);
  });

  it.each([
    [{ replicas: 0 }, 'replicas', 'replicas must be a whole number from 1 to 16'],
    [{ replicas: '2' }, 'replicas', 'replicas must be a whole number from 1 to 16'],
    [{ auditShare: 0 }, 'auditShare', 'auditShare must be a number from 0.01 to 1'],
    [{ inviteOnly: 'yes' }, 'inviteOnly', 'inviteOnly must be true or false'],
    [{ operatorName: 'a\u0000b' }, 'operatorName', 'operatorName must be one line without control characters'],
    [{ about: 'x'.repeat(1001) }, 'about', 'about must have 1000 characters or fewer'],
    [{ alertWebhook: 'javascript:alert(1)' }, 'alertWebhook', 'alertWebhook must be empty, or a URL'],
    [{ replica: 2 }, 'replica', 'There is no setting "replica"'],
    [[], undefined, 'Settings are an object'],
    [null, undefined, 'Settings are an object'],
  ])('refuse %j by name, and change nothing of the rest', async (change, param, message) => {
    const settings = new Settings();
    const both = Array.isArray(change) || change === null ? change : { deviceLimit: 4, ...change };
    const error = await refusal(settings.change(both, 'otto'));
    expect(error).toMatchObject({ reason: 'invalid', param, message: expect.stringContaining(message) });
    expect(settings.get('deviceLimit')).toBe(0);
  });

  it('can be locked, and a secret is shown to operators only', async () => {
    const settings = new Settings();
    settings.lock('deviceLimit', 'an encoder has none');
    const error = await refusal(settings.change({ deviceLimit: 2 }, 'otto'));
    expect(error).toMatchObject({ reason: 'locked', message: 'deviceLimit: an encoder has none' });
    const [change] = await settings.change({ alertWebhook: 'https://hooks.test/secret' }, 'otto');
    expect(change).toMatchObject({ to: 'a value of its own' });
    expect(JSON.stringify(settings.view(false))).not.toContain('hooks.test');
    expect(JSON.stringify(settings.view(true))).toContain('hooks.test/secret');
  });

  it('take a default from elsewhere, whenever it changes there', async () => {
    const settings = new Settings();
    let stated = false;
    settings.useDefault('inviteOnly', 'the rules of access', () => stated);
    const seen: boolean[] = [];
    settings.follow('inviteOnly', (value) => seen.push(value));
    stated = true;
    settings.refresh();
    await settings.change({ inviteOnly: false }, 'otto');
    await settings.change({ inviteOnly: null }, 'otto');
    expect(seen).toEqual([false, true, false, true]);
  });
});

describe('settings in a database', () => {
  let database: SharedDatabase;
  let second: SharedDatabase;
  let settings: Settings[];
  let stored: StoredSettings[];
  beforeAll(async () => {
    database = await memoryDatabase();
    second = shareDatabase(database)();
    settings = [new Settings({ replicas: 2 }), new Settings({ replicas: 2 })];
    stored = [await StoredSettings.open(database, settings[0]!), await StoredSettings.open(second, settings[1]!)];
  });
  afterAll(async () => {
    for (const one of stored ?? []) await one.close();
    await second?.close();
    await database?.close();
  });

  it('hold at once where they are changed, soon everywhere else, and after a restart', async () => {
    await settings[0]!.change({ replicas: 4, drainAll: true }, 'otto');
    expect(settings[0]!.get('replicas')).toBe(4);
    await expect.poll(() => settings[1]!.get('drainAll')).toBe(true);
    const again = new Settings({ replicas: 2 });
    const opened = await StoredSettings.open(database, again);
    expect(again.get('replicas')).toBe(4);
    expect(again.view(true).settings.find(({ name }) => name === 'replicas')).toMatchObject({
      value: 4,
      default: 2,
      defaultFrom: '--replicas',
      changed: { by: 'otto', at: expect.any(String) },
    });
    await opened.close();
    await settings[1]!.change({ replicas: null, drainAll: null }, 'vera');
    await expect.poll(() => settings[0]!.get('replicas')).toBe(2);
  });

  it('are as if not there where another version wrote what is not valid here', async () => {
    const row = { name: 'live.replicas', value: JSON.stringify({ value: 99, by: 'otto' }) };
    await database.db.insertInto('settings').values(row).execute();
    await settings[0]!.change({ about: 'x' }, 'otto');
    expect(settings[0]!.get('replicas')).toBe(2);
    expect(settings[0]!.get('about')).toBe('x');
  });

  it('stay in force while the database is away, and cannot be changed then', async () => {
    await settings[0]!.change({ replicas: 6 }, 'otto');
    await expect.poll(() => settings[1]!.get('replicas')).toBe(6);
    second.cut();
    const error = await refusal(settings[1]!.change({ replicas: 1 }, 'otto'));
    expect(error).toMatchObject({ reason: 'away', message: expect.stringContaining('nothing was changed') });
    expect(settings[1]!.get('replicas')).toBe(6);
    expect(settings[1]!.view(true).away).toEqual(expect.any(String));
    await settings[0]!.change({ replicas: 3 }, 'otto');
    second.heal();
    await expect.poll(() => settings[1]!.get('replicas'), { timeout: 90_000 }).toBe(3);
    expect(settings[1]!.view(true).away).toBeNull();
  });
});
