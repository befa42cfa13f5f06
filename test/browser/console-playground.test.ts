import { beforeEach, describe, expect, it } from 'vitest';
import { accessFaults } from './access-faults.ts';
import { browser, eventually, fake, expectAccessible, openPage, page, useFakeCoordinator } from './console-browser.ts';
import { storyTokens } from './console-fake-data.ts';

useFakeCoordinator(['clipboard-read', 'clipboard-write']);
beforeEach(async () => {
  await page.goto(`${fake.url}/playground`);
  await page.getByText('tiny-stories').waitFor();
});

const write = (): Promise<void> => page.getByRole('button', { name: 'Write' }).click();
const state = (): Promise<string | null> => page.locator('.answer .state').textContent();

describe('an answer', () => {
  it('streams in, with its figures, from what the form says', async () => {
    await page.getByLabel('Prompt').fill('The fish');
    await page.getByLabel('Max tokens').fill('40');
    await page.getByLabel('Seed').fill('7');
    await page.getByLabel('Stop at').fill('The end');
    let goOn = (): void => {};
    fake.afterThird = new Promise((resolve) => (goOn = resolve));
    await page.getByLabel('Prompt').press('Control+Enter');
    await eventually(() => page.locator('.answer .text').textContent()).toBe('The fish was very curious');
    expect(await state()).toContain('writing');
    goOn();
    await eventually(state).toContain('finished: the token limit was reached');
    const text = storyTokens(40, fake.layers)
      .map((token) => token.text)
      .join('');
    expect(await page.locator('.answer .text').textContent()).toBe(`The fish${text}`);
    const figures = await page.locator('.answer .tile dd').allTextContents();
    expect(figures[0]).toMatch(/^[\d.,]+ ms$/);
    expect(figures[1]).toMatch(/^[\d.,]+$/);
    expect(figures[2]).toBe('40');
    expect(fake.asked[0]).toEqual({
      model: 'tiny-stories',
      prompt: 'The fish',
      max_tokens: 40,
      temperature: 0.8,
      top_p: 0.95,
      seed: 7,
      stop: ['The end'],
      stream: true,
      stream_options: { include_usage: true },
      shoal: { trace: true },
    });
  });

  it('comes from the picked adapter, or the one that the coordinator names', async () => {
    fake.adapters = ['pirates & co'];
    await page.reload();
    await page.getByLabel('Model', { exact: true }).selectOption('auto');
    await write();
    await eventually(() => page.locator('.answer-head').textContent()).toContain('answered by pirates & co');
    await page.getByLabel('Model', { exact: true }).selectOption('pirates & co');
    expect(await page.locator('#model-description').textContent()).toBe('Writes pirates & co.');
    expect(await accessFaults(page)).toEqual([]);
    await write();
    await eventually(() => fake.asked.map(({ model }) => model)).toEqual(['auto', 'pirates & co']);
  });

  it('stops at a press, and the server notices', async () => {
    fake.story = 'endless';
    await write();
    await page.locator('.strip canvas').first().waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await eventually(state).toContain('stopped');
    await eventually(() => fake.hungUp).toBe(1);
    const text = await page.locator('.answer .text').textContent();
    expect(text?.length).toBeGreaterThan(50);
    await page.getByRole('button', { name: 'Write' }).waitFor();
    expect(fake.asked.length).toBe(1);
  });

  it('keeps what came before an error, and tells the error in words', async () => {
    fake.story = 'error-inside';
    await write();
    await eventually(() => page.getByRole('alert').textContent()).toBe('The answer took longer than allowed.');
    expect(await state()).toContain('ended with an error');
    expect(await page.locator('.answer .text').textContent()).toContain(' was very curious. Every');
    expect(await page.getByRole('slider').getAttribute('aria-valuemax')).toBe('5');
  });

  it('tells a refusal, a broken connection and an absent server apart', async () => {
    fake.story = 'queue-full';
    await write();
    await expect
      .poll(() => page.getByRole('alert').textContent())
      .toBe('The queue is full. (HTTP 429) Try again in 7 s.');
    fake.story = 'hang-up';
    await write();
    await eventually(() => page.getByRole('alert').textContent()).toContain('the connection was lost');
    await fake.stop();
    await write();
    await eventually(() => page.locator('.answer .text').textContent()).not.toContain('curious');
    await eventually(() => page.getByRole('alert').textContent()).toContain('cannot be reached');
    await fake.start();
  });

  it('asks for an API key only where the coordinator does, and keeps it for this tab', async () => {
    expect(await page.getByLabel('API key').count()).toBe(0);
    fake.apiKey = 'key-of-ann';
    await page.reload();
    await page.getByLabel('API key').fill('key-of-bob');
    await write();
    await page.getByRole('alert').getByText('asks for an API key').waitFor();
    await page.getByLabel('API key').fill('key-of-ann');
    // The form moves up when the complaint goes, and a click that began before would miss.
    await page.getByRole('alert').waitFor({ state: 'hidden' });
    await page.getByLabel('Max tokens').fill('8');
    await write();
    await eventually(state).toContain('finished');
    expect(await accessFaults(page)).toEqual([]);
    await page.getByRole('button', { name: 'Copy as curl' }).click();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    expect(copied).toContain('Bearer $SHOAL_API_KEY');
    expect(copied).not.toContain('key-of-ann');
    await page.reload();
    await page.getByText('tiny-stories').waitFor();
    expect(await page.evaluate(() => localStorage.length)).toBe(0);
  });

  it('does not send a form that is wrong, and says where', async () => {
    await page.getByLabel('Temperature').fill('hot');
    await write();
    expect(await page.getByLabel('Temperature').getAttribute('aria-invalid')).toBe('true');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('field-temperature');
    expect(await page.locator('#error-temperature').textContent()).toContain('from 0 to 2');
    expect(fake.asked).toEqual([]);
  });
});

describe('the strip', () => {
  const spoken = (): Promise<string | null> => page.getByRole('slider').getAttribute('aria-valuetext');

  it('is scrubbed by keys, and shows the experts of a token', async () => {
    await write();
    await eventually(state).toContain('finished');
    const strip = page.getByRole('slider');
    await strip.press('Home');
    await eventually(spoken).toContain('1 of 120, “was”: 5 laps');
    await strip.press('ArrowRight');
    await strip.press('ArrowRight');
    await eventually(spoken).toContain('3 of 120, “curious”');
    const token = storyTokens(3, fake.layers)[2];
    const detail = page.locator('.token-detail');
    expect(await detail.locator('tbody tr').count()).toBe(5);
    const numbers = await detail.locator('tbody tr').first().locator('.expert').allTextContents();
    expect(numbers.map((text) => Number(text.split(' ')[0])).sort()).toEqual(
      token?.laps[0]?.experts.map(({ expert }) => expert).sort(),
    );
    await strip.press('ArrowDown');
    await eventually(async () => Number(await strip.getAttribute('aria-valuenow'))).toBeGreaterThan(10);
    await strip.press('End');
    await eventually(() => strip.getAttribute('aria-valuenow')).toBe('120');
  });

  it('is scrubbed by the mouse: passing shows, pressing keeps', async () => {
    await write();
    await eventually(state).toContain('finished');
    const first = page.locator('.strip canvas').first();
    await first.scrollIntoViewIfNeeded();
    const box = await first.boundingBox();
    const [x, y] = [(box?.x ?? 0) + 40, (box?.y ?? 0) + 40];
    await page.mouse.move(x, y);
    await eventually(spoken).toContain('1 of 120');
    await page.mouse.move(2, 2);
    await eventually(spoken).toContain('120 of 120');
    await page.mouse.move(x + 40, y);
    await page.mouse.down();
    await page.mouse.up();
    await page.mouse.move(2, 2);
    await eventually(spoken).toContain('2 of 120, “very”');
  });

  it('draws the tabs in colours and the coordinator hatched, with a legend of both', async () => {
    await write();
    await eventually(state).toContain('finished');
    const legend = page.getByRole('list', { name: 'Who computed the experts' });
    expect(await legend.textContent()).toContain('the coordinator itself · ');
    expect(await legend.locator('.peer-swatch').allTextContents()).toEqual(['A', 'B', 'C', 'D', '']);
    const seen = await page
      .locator('.strip canvas')
      .first()
      .evaluate((node: HTMLCanvasElement) => {
        const data = node.getContext('2d')?.getImageData(0, 0, node.width, node.height).data ?? [];
        const colours = new Set<string>();
        for (let i = 0; i < data.length; i += 4) colours.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
        return [...colours];
      });
    expect(seen).toEqual(expect.arrayContaining(['0,114,178', '208,90,0', '0,138,101', '176,80,138']));
  });

  it('follows a finger', async () => {
    const phone = await openPage(browser, fake.url, { viewport: { width: 360, height: 740 }, hasTouch: true });
    await phone.page.goto(`${fake.url}/playground`);
    await phone.page.getByRole('button', { name: 'Write' }).tap();
    await eventually(() => phone.page.locator('.answer .state').textContent()).toContain('finished');
    const first = phone.page.locator('.strip canvas').first();
    await first.scrollIntoViewIfNeeded();
    await first.tap({ position: { x: 60, y: 30 } });
    await eventually(() => phone.page.getByRole('slider').getAttribute('aria-valuetext')).toMatch(/^[12] of 120/);
    expect(phone.faults).toEqual([]);
    await phone.page.context().close();
  });
});

it('copies the request in three languages', async () => {
  for (const [language, sign] of [
    ['curl', 'curl -N http'],
    ['Python', 'from openai import OpenAI'],
    ['TypeScript', "import OpenAI from 'openai'"],
  ] as const) {
    await page.getByRole('button', { name: `Copy as ${language}` }).click();
    await page.getByText(`Copied as ${language}.`).waitFor();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toContain(sign);
    expect(await page.locator('pre').textContent()).toContain(fake.url);
  }
});

it('is accessible and fits at every width, light and dark', async () => {
  await page.getByLabel('Top p').fill('9');
  await write();
  await expectAccessible(page, 'a wrong form');
  await page.getByLabel('Top p').fill('0.9');
  await write();
  await eventually(state).toContain('finished');
  await page.getByRole('button', { name: 'Copy as curl' }).click();
  await expectAccessible(page, 'an answer');
});
