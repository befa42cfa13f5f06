import { text } from 'node:stream/consumers';
import { beforeEach, describe, expect, it } from 'vitest';
import { accessFaults } from './access-faults.ts';
import {
  eventually,
  expectAccessible,
  expectFits,
  fake,
  page,
  rowIds,
  signIn,
  useFakeCoordinator,
  WIDTHS,
} from './console-browser.ts';
import { makeEvents, makeSnapshot, peerIds } from './console-fake-data.ts';

useFakeCoordinator();
beforeEach(() => {
  fake.events = makeEvents();
});

describe('signing in', () => {
  it('says that a wrong token is wrong, and why, and takes the right one', async () => {
    await page.goto(`${fake.url}/console`);
    await page.getByLabel('Admin token').fill('wrong');
    await page.keyboard.press('Enter');
    await eventually(() => page.getByRole('alert').textContent()).toContain('It is not the admin token.');
    await page.getByLabel('Admin token').fill(fake.token);
    await page.getByRole('button', { name: 'Open the console' }).click();
    await page.locator('.verdict').waitFor();
    await page.reload();
    await page.locator('.verdict').waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.reload();
    await page.getByLabel('Admin token').waitFor();
  });

  it('takes the token out of the address bar', async () => {
    await signIn();
    expect(page.url()).toBe(`${fake.url}/console`);
    expect(await page.evaluate(() => localStorage.length)).toBe(0);
  });
});

describe('the verdict', () => {
  it('says how things stand and links to what needs attention', async () => {
    await signIn();
    const verdict = page.locator('.verdict');
    expect(await verdict.locator('.verdict-text').textContent()).toBe(fake.snapshot.verdict.text);
    expect(await verdict.locator('.tile dd').allTextContents()).toEqual(['21.4', '2', '6']);
    const [worst, ...others] = fake.snapshot.attention;
    expect(await verdict.getByRole('link').allTextContents()).toEqual([worst!.text, `${others.length} more`]);
    expect(await verdict.getByRole('link').first().getAttribute('href')).toBe('#events');
    const items = page.locator('#attention li');
    const levels = await items.locator('.level').allTextContents();
    expect(levels.map((level) => level.trim())).toEqual(['urgent', 'warning', 'notice']);
    expect(await items.nth(1).innerText()).toContain('ask donors to lend more, or others to join');
    expect(await items.nth(1).getByRole('link').getAttribute('href')).toBe('#map');
    const calm = makeSnapshot();
    fake.show({
      ...calm,
      verdict: { state: 'serving', text: 'Serving.' },
      attention: [],
      flow: { ...calm.flow, tokensPerSecond: 3.25 },
    });
    await eventually(() => verdict.textContent()).toContain('Nothing needs your attention');
    expect(await items.count()).toBe(0);
    expect(await verdict.locator('.tile dd').first().textContent()).toBe('3.25');
    expect(await page.title()).toBe('● Console · Shoal');
  });

  it('says dash and why for what is not measured', async () => {
    await signIn();
    const compute = page.locator('.stack-legend div', { hasText: 'compute' });
    expect(await compute.locator('.nothing').getAttribute('title')).toContain('Not measured');
  });
});

describe('tabs', () => {
  it('sorts by a column and turns round', async () => {
    await signIn();
    const heading = page.getByRole('columnheader', { name: 'Rows/s' });
    await heading.getByRole('button').click();
    expect(await heading.getAttribute('aria-sort')).toBe('descending');
    const fastest = [...fake.snapshot.peers].sort((a, b) => b.rowsPerSecond - a.rowsPerSecond)[0];
    expect((await rowIds())[0]).toBe(fastest?.peerId);
    await heading.getByRole('button').press('Enter');
    expect(await heading.getAttribute('aria-sort')).toBe('ascending');
    expect((await rowIds()).at(-1)).toBe(fastest?.peerId);
    expect(await page.locator('.peers th[aria-sort="ascending"], .peers th[aria-sort="descending"]').count()).toBe(1);
  });

  it('drains a tab and tells what came of it', async () => {
    await signIn();
    await page.getByRole('button', { name: peerIds[4] ?? '' }).click();
    const panel = page.locator('.peer-panel');
    expect(await panel.locator('.events').textContent()).toContain('missed its deadline in layer 4');
    expect(await panel.locator('.chart').getAttribute('aria-label')).toContain('between');
    await panel.getByRole('button', { name: 'Drain…' }).click();
    await page.getByLabel('It rests for').selectOption({ label: '1 hour' });
    await page.getByRole('dialog').getByRole('button', { name: 'Drain' }).click();
    await eventually(() => page.locator('#peers .status-line').textContent()).toContain('p-Vd58 is draining');
    expect(fake.commands).toEqual([{ command: 'drain', peerId: 'p-Vd58', minutes: 60, reason: '' }]);
  });

  it('offers a viewer nothing to press, and says why', async () => {
    fake.role = { name: 'vera', role: 'viewer' };
    await signIn();
    await page.locator('.peers .disclose').first().click();
    await page.getByText('signed in as vera with view-only access').waitFor();
    await page.getByText('An operator can make, limit and revoke these.').waitFor();
    expect(
      await page.getByRole('button', { name: /Drain|Remove|[Ll]oad|New |Cancel|Lift|Keep out|Save|Reset/ }).count(),
    ).toBe(0);
    expect(await page.locator('header').textContent()).toContain('vera (view only)');
    expect(await accessFaults(page)).toEqual([]);
  });

  it('removes a tab only after asking, and shows a refusal', async () => {
    await signIn();
    fake.onCommand = () => ({ ok: false, message: 'This tab left a moment ago.' });
    await page.getByRole('button', { name: peerIds[0] ?? '' }).click();
    await page.getByRole('button', { name: 'Remove…' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Keep' }).click();
    expect(fake.commands).toEqual([]);
    await page.getByRole('button', { name: 'Remove…' }).click();
    await page.getByRole('dialog').getByLabel('Reason').fill('It came and went');
    await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
    await eventually(() => page.locator('#peers .status-line').textContent()).toContain('This tab left a moment ago.');
    const removal = { command: 'remove', peerId: 'p-7Kq2', minutes: 60, reason: 'It came and went', whom: 'donor' };
    expect(fake.commands).toEqual([removal]);
  });

  it('survives a swarm without tabs', async () => {
    const empty = makeSnapshot();
    fake.snapshot = {
      ...empty,
      peers: [],
      requests: [],
      placement: {
        ...empty.placement,
        peerIds: [],
        replicas: empty.placement.replicas.map((row) => row.map(() => 0)),
        holders: empty.placement.holders.map((row) => row.map(() => [])),
      },
      flow: { ...empty.flow, tabShare: null, lapsPerToken: null, bytesPerToken: null },
    };
    await signIn();
    expect(await page.locator('#peers').textContent()).toContain('No tab is connected');
    expect(await page.locator('#map-summary').textContent()).toContain('No expert is on any tab');
    expect(await accessFaults(page)).toEqual([]);
  });
});

describe('adapters', () => {
  it('are loaded from a folder and unloaded, one in use only after asking, and errors are shown as they are', async () => {
    await signIn();
    const section = page.locator('#adapters');
    const status = section.locator('.status-line');
    expect(await status.textContent()).toContain('Loading rhymes from rhymes… (3 s)');
    expect(await section.getByRole('row', { name: /^plain/ }).textContent()).toContain('auto does not choose it');
    await section.getByRole('button', { name: 'Unload plain' }).click();
    await eventually(() => status.textContent()).toContain('plain was unloaded.');
    await section.getByRole('button', { name: 'Unload pirates' }).click();
    await page.getByRole('dialog').getByText('2 answers use it').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Keep' }).click();
    fake.onCommand = () => ({ ok: false, message: 'lora_path must be a folder.' });
    await section.getByLabel('Folder in --adapter-dir').fill('styles/letters');
    await section.getByLabel('What it is for').fill('Letters');
    await section.getByRole('button', { name: 'Load', exact: true }).click();
    await eventually(() => status.textContent()).toContain('letters: lora_path must be a folder.');
    expect(fake.commands).toEqual([
      { command: 'unload-adapter', name: 'plain' },
      { command: 'load-adapter', name: 'letters', path: 'styles/letters', description: 'Letters' },
    ]);
  });
});

describe('access', () => {
  it('makes a key, shows its token once, limits it and revokes it after asking, by keyboard too', async () => {
    await signIn();
    const section = page.locator('#access');
    const status = section.locator('.status-line');
    const ann = section.getByRole('row', { name: /^ann/ });
    await ann.waitFor();
    expect(await ann.textContent()).toContain('60 requests/min, 200,000 tokens/day');
    await eventually(() => ann.textContent()).toContain('157,500 tokens in 340 requests');
    await section.getByRole('button', { name: 'New API key' }).press('Enter');
    const form = section.locator('.adding');
    await form.getByLabel('Name').fill('carla');
    await form.getByLabel('Tokens a day').fill('5000');
    await form.getByLabel('Tokens a day').press('Enter');
    const token = section.getByRole('group', { name: 'The key of carla' });
    await eventually(() => token.textContent()).toContain('a-new-token-of-32-characters-000');
    expect(await token.evaluate((box) => box === document.activeElement)).toBe(true);
    await token.getByRole('button', { name: 'Done' }).click();
    expect(await section.textContent()).not.toContain('a-new-token');
    await section.getByRole('button', { name: 'carla' }).click();
    await section.getByLabel('Tokens a day').fill('');
    await section.getByLabel('Requests a minute').fill('9');
    await section.getByRole('button', { name: 'Save' }).click();
    await eventually(() => status.textContent()).toContain('carla was changed.');
    await eventually(() => section.getByRole('row', { name: /^carla/ }).textContent()).toContain('9 requests/min');
    await section.getByRole('button', { name: 'Revoke…' }).click();
    await page.getByRole('dialog').getByText('Answers that are under way are finished').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Keep' }).click();
    await section.getByRole('button', { name: 'Revoke…' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    await eventually(() => section.locator('summary').first().textContent()).toBe('2 revoked API keys');
    expect(fake.admin).toEqual([
      { method: 'POST', path: '/admin/keys', body: { name: 'carla', tokensPerDay: 5000 } },
      { method: 'PATCH', path: '/admin/keys/carla', body: { requestsPerMinute: 9, tokensPerDay: null } },
      { method: 'DELETE', path: '/admin/keys/carla', body: undefined },
    ]);
  });

  it('shows what a key has used, exports it, and gives an invitation as a link', async () => {
    await signIn();
    const section = page.locator('#access');
    await section.getByRole('button', { name: 'ann' }).click();
    await eventually(() => section.locator('.day-bars figcaption').textContent()).toMatch(/^25,400 tokens from/);
    expect(await section.getByRole('row', { name: /^pirates/ }).textContent()).toContain('2,800');
    const [csv] = await Promise.all([
      page.waitForEvent('download'),
      section.getByRole('button', { name: 'Export usage' }).click(),
    ]);
    expect(csv.suggestedFilename()).toBe('shoal-usage.csv');
    await section.getByRole('button', { name: 'New invitation' }).click();
    await section.locator('.adding').getByLabel('Name').fill('open-day');
    await section.locator('.adding').getByLabel('Admits tabs until').fill('2031-02-01T10:30');
    await section.getByRole('button', { name: 'Make the invitation' }).click();
    await section.getByText(`${fake.url}/#invite=a-new-token-of-32-characters-000`).waitFor();
    const expires = await page.evaluate(() => new Date('2031-02-01T10:30').toISOString());
    expect(fake.admin[0]?.body).toEqual({ name: 'open-day', expires });
    await expectAccessible(page, 'the usage of a key');
  });

  it('says why nothing can be changed: an access file, a database that is away, or a viewer', async () => {
    await signIn();
    const section = page.locator('#access');
    const news = section.getByRole('button', { name: /^New / });
    await eventually(() => news.count()).toBe(3);
    // The console is told so; until then it may still ask.
    fake.adminRefusal = 'The database did not answer, so nothing was changed.';
    await section.getByRole('button', { name: 'New admin' }).click();
    await section.locator('.adding').getByLabel('Name').fill('zoe');
    await section.getByRole('button', { name: 'Make the admin' }).click();
    await eventually(() => section.locator('.status-line').textContent()).toContain('The database did not answer');
    fake.tellAccess({ ...fake.access, away: '2026-11-30T12:00:00Z' });
    await eventually(() => section.getByRole('alert').textContent()).toContain('The database has been away since');
    expect(await news.count()).toBe(0);
    fake.tellAccess({ ...fake.access, away: null, source: 'file', file: '/etc/shoal/access.json' });
    await section.getByText('npx shoal access import /etc/shoal/access.json').waitFor();
    expect(await news.count()).toBe(0);
    const rules = { ...fake.access.rules, api: 'open', swarm: 'open' } as const;
    fake.tellAccess({ ...fake.access, source: 'database', file: null, rules, keys: [], invites: [] });
    await section.getByText('There is no API key, and none is needed.').waitFor();
    await section.getByRole('button', { name: 'New API key' }).click();
    await section.getByText('With the first one, the API requires a key from everybody.').waitFor();
    expect(await accessFaults(page)).toEqual([]);
  });
});

describe.each([
  [5, 32],
  [58, 256],
])('the map of %i × %i', (layers, experts) => {
  it('names the tabs of a cell, filters the table by it, and works by keyboard', async () => {
    fake.snapshot = makeSnapshot(layers, experts);
    await signIn();
    expect(await page.locator('#map-summary').textContent()).toContain(`${layers} layers of ${experts} experts`);
    const map = page.getByRole('application');
    await map.focus();
    for (const key of ['ArrowDown', 'ArrowRight', 'ArrowRight', 'ArrowRight']) await map.press(key);
    const readout = page.locator('.readout');
    const holders = (fake.snapshot.placement.holders[1]?.[3] ?? []).map((index) => peerIds[index]);
    await eventually(() => readout.textContent()).toContain(`Layer 2, expert 3: ${holders.length} replica`);
    for (const id of holders) expect(await readout.textContent()).toContain(id);
    await map.press('Enter');
    await eventually(async () => (await rowIds()).sort()).toEqual([...holders].sort());
    await page.getByRole('button', { name: 'Show all' }).click();
    expect((await rowIds()).length).toBe(6);
    await map.press('End');
    await eventually(() => readout.textContent()).toContain(`expert ${experts - 1}:`);
  });

  it('answers to the mouse, outlines the uncovered and fits its window', async () => {
    fake.snapshot = makeSnapshot(layers, experts);
    await signIn();
    const canvas = page.locator('.map canvas');
    await canvas.scrollIntoViewIfNeeded();
    const ink = await canvas.evaluate((node: HTMLCanvasElement) => {
      const data = node.getContext('2d')?.getImageData(0, 0, node.width, node.height).data ?? [];
      let trouble = 0;
      for (let i = 0; i < data.length; i += 4) {
        // --trouble in the light scheme, as drawn without blending.
        if (data[i] === 0xc2 && data[i + 1] === 0x32 && data[i + 2] === 0x1f) trouble += 1;
      }
      return trouble;
    });
    expect(ink).toBeGreaterThan(4 * 8);
    const box = await canvas.boundingBox();
    await page.mouse.move((box?.x ?? 0) + 40, (box?.y ?? 0) + 22);
    await eventually(() => page.locator('.readout').textContent()).toContain('Layer 1, expert');
    await page.getByRole('radio', { name: 'load' }).check();
    expect(await page.getByRole('list', { name: 'Colours' }).textContent()).toContain('rows/s');
    await page.mouse.click((box?.x ?? 0) + 40, (box?.y ?? 0) + 22);
    await page.getByRole('button', { name: 'Show all' }).waitFor();
    for (const width of WIDTHS) await expectFits(page, width);
  });
});

describe('events', () => {
  it('filters by level, kind and words, and shows news as it comes', async () => {
    await signIn();
    const rows = page.locator('#events .events li');
    expect(await rows.count()).toBe(7);
    await page.getByLabel('Level').selectOption('warning');
    expect(await rows.count()).toBe(2);
    await page.getByLabel('Kind').selectOption('lap');
    expect(await rows.count()).toBe(1);
    await page.locator('#events').getByLabel('Search').fill('MATCHES NOTHING');
    expect(await page.locator('#events').textContent()).toContain('No events match this filter');
    await page.locator('#events').getByLabel('Search').fill('12 rows');
    fake.tell({ seq: 99, timeMs: Date.UTC(2026, 0, 5, 11), level: 'warning', kind: 'lap', text: 'Another 12 rows.' });
    await eventually(() => rows.count()).toBe(2);
    expect(await rows.first().textContent()).toContain('Another 12 rows.');
  });

  it('exports what the filter shows', async () => {
    await signIn();
    await page.getByLabel('Level').selectOption('error');
    const [csv] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Export CSV' }).click(),
    ]);
    const table = await text(await csv.createReadStream());
    expect(csv.suggestedFilename()).toBe('shoal-events.csv');
    expect(table.trim().split('\r\n').length).toBe(2);
    const [json] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Export JSON' }).click(),
    ]);
    expect(JSON.parse(await text(await json.createReadStream()))).toEqual([makeEvents()[4]]);
  });
});

it('says that the coordinator is lost, greys the figures, and recovers by itself', async () => {
  await signIn();
  await fake.stop();
  await eventually(() => page.getByRole('alert').textContent()).toMatch(
    /Lost the connection to the coordinator .* ago; reconnecting/,
  );
  expect(await page.locator('.console.stale').count()).toBe(1);
  expect(await accessFaults(page)).toEqual([]);
  expect(await page.title()).toContain('Lost');
  await fake.start();
  await eventually(() => page.locator('.console.stale').count()).toBe(0);
  expect(await page.locator('#events .events li').count()).toBe(7);
});

it('is accessible and fits at every width, light and dark', async () => {
  await page.goto(`${fake.url}/console`);
  await page.getByLabel('Admin token').waitFor();
  await expectAccessible(page, 'signing in');
  await page.getByLabel('Admin token').fill(fake.token);
  await page.keyboard.press('Enter');
  await page.locator('.verdict').waitFor();
  await page.getByRole('button', { name: peerIds[0] ?? '' }).click();
  await page.getByText('Show as a table').click();
  await expectAccessible(page, 'the console');
});
