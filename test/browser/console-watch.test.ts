import { expect, describe, it } from 'vitest';
import { eventually, fake, page, signIn, useFakeCoordinator } from './console-browser.ts';

useFakeCoordinator();

describe('history', () => {
  it('shows charts of a range and a coordinator, the same figures as a table, and gaps as gaps', async () => {
    await signIn();
    const section = page.locator('#history');
    await eventually(() => section.textContent()).toContain('In all since 2 Nov 2026: 1,234,567 tokens');
    const chart = section.locator('.chart').first();
    expect(await chart.getAttribute('aria-label')).toContain('Tokens per second. Now');
    expect(await chart.getAttribute('aria-label')).toContain('tokens/s in the last 24 hours.');
    expect(await section.textContent()).toContain('Gaps are times in which nothing was measured');
    await section.getByLabel('Last 7 days').check();
    await eventually(() => chart.getAttribute('aria-label')).toContain('in the last 7 days');
    const rows = section.locator('tbody tr');
    // A week in hours, less the gap.
    await eventually(() => rows.count()).toBe(141);
    expect(await section.locator('summary').textContent()).toContain('141 rows');
    expect(await rows.first().locator('td').nth(5).textContent()).toBe('6');
    await section.getByRole('combobox').selectOption('b:8787');
    await eventually(() => rows.first().locator('td').nth(5).textContent()).toBe('3');
  });
});

describe('alerts', () => {
  it('tell what was told, send a test message, and say why it was not delivered', async () => {
    await signIn();
    const section = page.locator('#alerts');
    await eventually(() => section.textContent()).toContain('told to hooks.example, signed. 12 messages delivered');
    expect(await section.locator('li').allTextContents()).toEqual(['The database does not answer']);
    const button = section.getByRole('button', { name: 'Send a test message' });
    await button.click();
    await eventually(() => section.textContent()).toContain('The test message was delivered.');
    fake.fault = 'The message was not delivered: the webhook answered with status 404.';
    await button.click();
    await eventually(() => section.textContent()).toContain('status 404');
    fake.alerts = { ...fake.alerts, webhook: null, open: [] };
    await button.click();
    await eventually(() => section.textContent()).toContain('No webhook is set');
  });

  it('notify in the browser of what is new while nobody looks', async () => {
    await signIn();
    await page.evaluate(() => {
      const shown: string[] = [];
      class Noted extends EventTarget {
        static permission = 'granted';
        static requestPermission = () => Promise.resolve('granted');
        constructor(_title: string, { body }: { body: string }) {
          super();
          shown.push(body);
        }
      }
      Object.assign(window, { Notification: Noted, shown });
      Object.defineProperty(document, 'hidden', { get: () => true });
    });
    await page.locator('#alerts').getByRole('checkbox').check();
    const shown = (): Promise<string[]> => page.evaluate(() => (window as unknown as { shown: string[] }).shown);
    const item = { ...fake.snapshot.attention[1]!, key: 'disk-space', text: 'Only 200 MiB are free' };
    fake.show({ ...fake.snapshot, attention: [...fake.snapshot.attention, item] });
    await eventually(shown).toEqual([`Only 200 MiB are free. ${item.remedy}`]);
    const notice = { ...item, key: 'other', severity: 'notice' as const };
    fake.show({ ...fake.snapshot, attention: [...fake.snapshot.attention, notice], queuedRequests: 77 });
    await eventually(() => page.locator('#requests').textContent()).toContain('77');
    expect(await shown()).toHaveLength(1);
  });
});
