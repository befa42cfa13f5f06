import type { ConsoleSnapshot } from '@shoal/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { eventually, fake, page, rowIds, signIn, useFakeCoordinator } from './console-browser.ts';
import { makeEvents, makeSnapshot } from './console-fake-data.ts';

useFakeCoordinator();
beforeEach(() => {
  fake.events = makeEvents();
});

describe('governing', () => {
  it('changes settings, says what they override, and shows a refusal beside the setting', async () => {
    await signIn();
    const setting = (name: string) => page.locator(`[data-setting="${name}"]`);
    expect(await setting('replicas').textContent()).toContain('As --replicas says.');
    const limit = setting('deviceLimit');
    await eventually(() => limit.textContent()).toMatch(/Set by otto, .* It overrides --device-limit, which says 0\./);
    await limit.getByRole('button', { name: 'Reset' }).click();
    await eventually(() => limit.textContent()).toContain('As --device-limit says.');
    const name = setting('operatorName');
    await name.getByRole('textbox').fill('The school of X');
    await name.getByRole('button', { name: 'Save' }).click();
    await eventually(() => name.textContent()).toContain('Operator was changed.');
    const share = setting('auditShare');
    await share.getByRole('spinbutton').fill('5');
    await share.getByRole('spinbutton').press('Enter');
    await eventually(() => fake.settings.get('auditShare')).toBe(0.05);
    fake.adminRefusal = 'The database did not answer, so nothing was changed. Try again.';
    await setting('drainAll').getByRole('switch').click();
    await eventually(() => setting('drainAll').textContent()).toContain('nothing was changed');
    expect(fake.settings.get('drainAll')).toBe(false);
    expect(await setting('creditPriority').getByRole('switch').count()).toBe(0);
  });

  it('says everywhere that all tabs rest', async () => {
    fake.snapshot = { ...makeSnapshot(), isDrainingAll: true };
    await signIn();
    await page.getByText('All tabs rest, and new ones are asked to wait').waitFor();
  });

  it('lists who is kept out, lifts, and keeps a network out with a reason', async () => {
    await signIn();
    const section = page.locator('#bans');
    await section.getByText('It came and went every minute').waitFor();
    await section.getByRole('button', { name: 'Lift: address 198.51.100.7' }).click();
    await eventually(() => section.locator('tbody tr').count()).toBe(1);
    expect(fake.admin.at(-1)?.path).toBe('/admin/quarantines/address%20198.51.100.7');
    const form = section.getByRole('form', { name: 'Keep somebody out' });
    await form.getByLabel('Donor or network').fill('everyone');
    await form.getByRole('button', { name: 'Keep out' }).click();
    await eventually(() => section.textContent()).toContain('"everyone" is no network.');
    await form.getByLabel('Donor or network').fill('203.0.113.0/24');
    await form.getByLabel('Reason').fill('Tests');
    await form.getByRole('button', { name: 'Keep out' }).click();
    await eventually(() => section.locator('tbody tr').count()).toBe(2);
    expect(fake.admin.at(-1)?.body).toEqual({ network: '203.0.113.0/24', minutes: 60, reason: 'Tests' });
  });

  it('shows whose requests there are and what came of them, and cancels one after asking', async () => {
    await signIn();
    const section = page.locator('#requests');
    const rowOf = (id: string) => section.locator('tbody tr', { hasText: id });
    expect(await rowOf('cmpl-91f0').textContent()).toContain('key ann');
    expect(await rowOf('cmpl-91ee').textContent()).toContain('The answer took more than 600 s.');
    expect(await rowOf('cmpl-91ee').getByRole('button').count()).toBe(0);
    await section.getByLabel('Search requests').fill('pirates');
    expect(await section.locator('tbody tr').count()).toBe(1);
    await rowOf('cmpl-91f1').getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel it' }).click();
    await eventually(() => section.locator('.status-line').textContent()).toContain('cmpl-91f1 was cancelled');
    expect(fake.commands).toEqual([{ command: 'cancel-request', id: 'cmpl-91f1' }]);
  });

  it('stays usable with 500 tabs of 58 × 256 experts: one page of them, found by search, the map above', async () => {
    fake.snapshot = crowd(500, makeSnapshot(58, 256));
    await signIn();
    expect(await page.locator('.peers tbody tr').count()).toBe(25);
    const top = (selector: string) =>
      page.locator(selector).evaluate((one) => one.getBoundingClientRect().top + scrollY);
    expect(await top('#map')).toBeLessThan(await top('#peers'));
    await page.getByLabel('Search tabs').fill('tab-499');
    expect(await rowIds()).toEqual(['tab-499']);
    await page.getByLabel('Search tabs').fill('');
    await page.getByRole('navigation', { name: 'Pages of tabs' }).getByRole('button', { name: 'Next' }).click();
    expect((await rowIds())[0]).toBe('tab-25');
    const cutOff = await page
      .locator('#peers .table-scroll')
      .evaluate(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth);
    expect(cutOff).toBe(0);
  });
});

/** A snapshot with as many tabs, named tab-0 and so on. */
function crowd(count: number, snapshot: ConsoleSnapshot): ConsoleSnapshot {
  const peers = Array.from({ length: count }, (_, i) => ({
    ...snapshot.peers[i % snapshot.peers.length]!,
    peerId: `tab-${i}`,
  }));
  return { ...snapshot, peers };
}
