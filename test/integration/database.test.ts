import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { findControl } from '../../coordinator/src/control-file.ts';
import { crashThread } from '../../coordinator/src/database/open.ts';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { answer } from './answers.ts';
import { GOLDEN, promisedLength } from './golden.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';

const LIAR = 'l'.repeat(32);
const HONEST = 'h'.repeat(32);

let dataDir: string;
let core: Coordinator;

beforeAll(async () => {
  dataDir = await mkdtemp(`${tmpdir()}/shoal-data-`);
  core = await startTinyCoordinator({ dataDir, replicas: 1 });
});
afterAll(async () => {
  await core.close();
  await rm(dataDir, { recursive: true });
});

const ask = async (path: string, token: string, body?: object): Promise<Record<string, unknown>> => {
  const headers = { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) };
  const response = await fetch(core.url + path, {
    headers,
    ...(body && { method: 'POST', body: JSON.stringify(body) }),
  });
  return (await response.json()) as Record<string, unknown>;
};

it('answers while the database is gone, writes what it missed, and has it after a restart', async () => {
  const donor = await VirtualDonor.join(core, { donorToken: HONEST });
  await until('its tab to serve', () => covered(core), 60_000);
  const liar = await VirtualDonor.join(core, { donorToken: LIAR });
  const prompt = GOLDEN[0]!;
  const { database, queue, usage } = core.records!;
  const admin = core.adminToken!;
  const key = String((await ask('/admin/keys', admin, { name: 'ann', tokensPerDay: 900 }))['token']);
  expect(findControl(dataDir)).toMatchObject({ url: core.url });
  const today = new Date().toISOString().slice(0, 10);

  await queue.flush();
  const thread = new Promise((resolve) => database.events.once('away', resolve));
  await crashThread(database);
  await thread;
  core.trust.exclude(liar.session);
  core.events.add({ level: 'info', kind: 'server', text: 'Said while the database was away' });
  usage.add({ key: 'team', model: 'tiny', requests: 1, promptTokens: 3, completionTokens: 5 });
  // Answers go on at once. The thread starts again meanwhile.
  const { ids } = await answer(core, prompt.prompt_ids);
  expect(ids.slice(0, promisedLength(prompt))).toEqual(prompt.greedy_ids.slice(0, promisedLength(prompt)));
  await until('the database to be back', () => !database.isAway, 60_000);
  usage.add({ key: 'team', model: 'tiny', requests: 1, completionTokens: 1 });
  await ask('/v1/completions', key, { model: 'tiny-stories', prompt: 'Once', max_tokens: 2, seed: 1 });
  const expected = [
    { key: 'ann', model: 'tiny-stories', requests: 1, refusals: 0, promptTokens: 2, completionTokens: 2 },
    { key: 'team', model: 'tiny', requests: 2, refusals: 0, promptTokens: 3, completionTokens: 6 },
  ];
  const used = `/admin/usage?by=key,model&from=${today}&to=${today}`;
  expect(await ask(used, admin)).toMatchObject({ rows: expected });

  const { donorId } = donor.session;
  await Promise.all([donor.close(), liar.close()]);
  const { verifiedRows } = donor.session.trust.record;
  await until('its audits', () => core.trust.counts.pending === 0, 60_000);
  const { work } = core.contributions;
  await core.close();
  // Rows of probation are compared until the end.
  const done = work.view(donorId, false)!;
  expect(done.total.tokens).toBeGreaterThan(0);
  expect([...queue.lost]).toEqual([]);
  expect(findControl(dataDir)).toBeUndefined();

  core = await startTinyCoordinator({ dataDir, replicas: 1 });
  const texts = core.events.all().map(({ text }) => text);
  expect(texts.filter((text) => text === 'Said while the database was away')).toHaveLength(1);
  expect(texts).toContainEqual(expect.stringMatching(/^The database does not answer/));
  // The operator that the first start made, with its token.
  expect(core.adminToken).toBeUndefined();
  expect(await ask(used, admin)).toMatchObject({ rows: expected });
  expect(await ask('/v1/usage?by=key', key)).toMatchObject({ rows: [{ key: 'ann', requests: 1 }] });
  await expect(VirtualDonor.join(core, { donorToken: LIAR })).rejects.toMatchObject({ code: 'banned' });
  const back = await VirtualDonor.join(core, { donorToken: HONEST });
  await until('its totals', () => back.session.contribution() !== undefined, 30_000);
  expect(back.session.contribution()!.total).toMatchObject({ tokens: done.total.tokens, rows: done.total.rows });
  expect(back.session.trust.record.verifiedRows).toBeGreaterThanOrEqual(verifiedRows);
  await back.close();
});
