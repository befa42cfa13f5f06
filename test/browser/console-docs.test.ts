import { beforeEach, describe, expect, it } from 'vitest';
import { accessFaults } from './access-faults.ts';
import { eventually, expectFits, fake, page, useFakeCoordinator, WIDTHS } from './console-browser.ts';

useFakeCoordinator();

const operation = (id: string) => page.locator(`#${id}`);
const open = (id: string) => page.locator(`.docs-nav a[href="#${id}"]`).click();

describe('the API’s page', () => {
  beforeEach(async () => {
    await page.goto(`${fake.url}/docs`);
    await operation('post-v1-completions').getByText('Try it').waitFor();
  });

  it('says which endpoints ask for a key, and tries them with and without one', async () => {
    await open('get-healthz');
    await operation('get-healthz').getByText('asks for no key').waitFor();
    await open('post-admin-keys');
    await operation('post-admin-keys').getByText('Needs an admin’s token').waitFor();

    const completions = operation('post-v1-completions');
    await completions.getByLabel('Example').selectOption('stream');
    await completions.getByRole('button', { name: 'Send' }).click();
    await eventually(() => completions.getByLabel('The answer').textContent()).toContain('data: [DONE]');
    expect(fake.asked).toEqual([{ model: 'tiny-stories', prompt: 'Once upon a time', max_tokens: 64, stream: true }]);

    await completions.getByLabel('Body').fill('{"prompt": ');
    await completions.getByRole('button', { name: 'Send' }).click();
    await completions.getByRole('alert').getByText('The body is not JSON').waitFor();
    expect(fake.asked).toHaveLength(1);

    fake.apiKey = 'key-of-ann';
    await completions.getByLabel('Body').fill('{"prompt": "A", "stream": true}');
    await completions.getByRole('button', { name: 'Send' }).click();
    await eventually(() => completions.getByRole('status').last().textContent()).toMatch(/^401/);
    await page.getByLabel('API key').fill('key-of-ann');
    await completions.getByRole('button', { name: 'Send' }).click();
    await eventually(() => completions.getByLabel('The answer').textContent()).toContain('data: [DONE]');
    // From now on the programs have the key, by a variable.
    await completions.locator('.modes').getByText('Python').click();
    await completions.getByLabel('in Python').getByText('os.environ["SHOAL_API_KEY"]').waitFor();
  });

  it('is accessible and fits at every width, light and dark', async () => {
    await open('post-v1-messages');
    await operation('post-v1-messages').getByText('Try it').waitFor();
    for (const summary of await page.locator('.operation[open] .fields > summary').all()) await summary.click();
    for (const width of WIDTHS) await expectFits(page, width);
    expect(await accessFaults(page), 'wide and light').toEqual([]);
    await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
    await expectFits(page, 360);
    expect(await accessFaults(page), 'narrow and dark').toEqual([]);
  });
});
