import { buffer } from 'node:stream/consumers';
import { beforeEach, describe, expect, it } from 'vitest';
import { accessFaults } from './access-faults.ts';
import { eventually, expectFits, fake, page, useFakeCoordinator, WIDTHS } from './console-browser.ts';

useFakeCoordinator();
beforeEach(async () => {
  await page.goto(`${fake.url}/lab`);
  await page.getByText('tiny-stories').waitFor();
});

const look = (): Promise<void> => page.getByRole('button', { name: 'Look' }).click();
const choose = (title: string): Promise<void> => page.getByRole('checkbox', { name: title, exact: true }).check();
const cards = () => page.locator('.study');
const done = (): Promise<void> => page.getByText(/looks? done/).waitFor();

async function saved(button: string): Promise<{ name: string; bytes: Buffer }> {
  const waiting = page.waitForEvent('download');
  await cards().last().getByRole('button', { name: button }).click();
  const download = await waiting;
  return { name: download.suggestedFilename(), bytes: await buffer(await download.createReadStream()) };
}

describe('the lab', () => {
  it('shows the model’s own gate and the chosen ones, and says which is which', async () => {
    await page.getByLabel('Text').fill('The fish was red');
    await choose('Top 1 with a capacity');
    await choose('Noisy top k');
    await page.getByRole('checkbox', { name: /^Compare noise/ }).check();
    await page.getByLabel('Count tabs as if').fill('2');
    await look();
    await done();
    const asked = (gate: string, settings: object) => ({ text: 'The fish was red', tabs: 2, gate, settings });
    const noise = (noiseScale: number) => asked('noisy-top-k', { k: 2, noiseScale, seed: 0 });
    expect(fake.asked).toEqual([
      asked('own', {}),
      asked('top-1-capacity', { capacityFactor: 1.25 }),
      ...[1, 0, 0.25, 0.5, 1, 2, 4].map(noise),
      asked('expert-choice', { capacityFactor: 2 }),
    ]);
    expect(await cards().locator('.whose').allTextContents()).toEqual([
      'the model’s own',
      'for study',
      'for study',
      'for study',
    ]);
    expect(await cards().nth(1).textContent()).toContain('The model was not trained with this gate');
    const image = cards().nth(1).getByRole('img');
    expect(await image.getAttribute('alt')).toContain('For study, not the model’s gate');
    expect(await image.evaluate((node: HTMLImageElement) => node.complete && node.naturalWidth > 100)).toBe(true);
    const lines = await page.locator('.comparison tbody tr').allTextContents();
    // The values that are compared are lines, and no pictures.
    expect(lines.length).toBe(10);
    expect(lines[1]).toContain('2.500');
    await image.hover({ position: { x: 40, y: 80 } });
    await eventually(() => cards().nth(1).locator('.readout').textContent()).toMatch(
      /^Layer 1, token 1 “<\|begin\|>”, expert \d+/,
    );
  });

  it('saves a picture that stands alone, its pixels, and all weights', async () => {
    await choose('Soft slots');
    await page.getByLabel('Text').fill('A <b> fish');
    await look();
    await done();
    const svg = await saved('Save as SVG');
    expect(svg.name).toBe('shoal-soft.svg');
    const text = svg.bytes.toString();
    expect(text).toContain('For study, not the model’s gate: Soft slots');
    expect(text).not.toMatch(/var\(|https?:(?!\/\/www\.w3\.org)/);
    const png = await saved('Save as PNG');
    expect([png.name, png.bytes.subarray(1, 4).toString()]).toEqual(['shoal-soft.png', 'PNG']);
    const csv = await saved('Save as CSV');
    // A line for each of 3 layers × 4 tokens × 16 slots, and the head.
    expect(csv.bytes.toString().trim().split('\r\n').length).toBe(1 + 3 * 4 * 16);
  });

  it('shows what is wrong at its field, goes on with the others, and keeps what was typed', async () => {
    await page.getByLabel('Capacity factor').fill('much');
    await look();
    const field = page.getByLabel('Capacity factor');
    expect(await field.getAttribute('aria-invalid')).toBe('true');
    expect(fake.asked).toEqual([]);
    await field.fill('0.5');
    fake.onStudy = ({ gate }) =>
      gate === 'own'
        ? undefined
        : { status: 400, message: 'capacityFactor is too small.', param: 'settings.capacityFactor' };
    await look();
    await done();
    expect(await field.getAttribute('aria-describedby')).toBe('error-expert-choice.capacityFactor');
    expect(await page.locator('.comparison').textContent()).toContain('capacityFactor is too small.');
    expect(await cards().count()).toBe(1);
    expect(await field.inputValue()).toBe('0.5');
    fake.onStudy = () => ({ status: 429, message: 'Four texts wait already.', param: null });
    await look();
    await done();
    expect(await page.locator('.comparison').textContent()).toContain('Four texts wait already. (HTTP 429)');
  });

  it('asks for an API key where the coordinator does', async () => {
    fake.apiKey = 'key-of-ann';
    await page.reload();
    await page.getByRole('alert').getByText('asks for an API key').waitFor();
    await page.getByLabel('API key').fill('key-of-ann');
    await page.getByLabel('API key').blur();
    await page.getByRole('button', { name: 'Look' }).waitFor();
  });

  it('is accessible and fits at every width, light and dark, right and wrong', async () => {
    await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
    for (const title of ['Device-limited', 'Top 2 with a capacity', 'Soft slots']) await choose(title);
    await look();
    await done();
    for (const summary of await page.getByText('One token in words').all()) await summary.click();
    for (const summary of await page.getByText('Layers as a table').all()) await summary.click();
    for (const width of WIDTHS) await expectFits(page, width);
    expect(await accessFaults(page), 'wide and light').toEqual([]);
    const slider = page.getByRole('slider').first();
    await slider.press('ArrowRight');
    expect(await slider.getAttribute('aria-valuetext')).toContain('2 of');
    await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
    await expectFits(page, 360);
    await page.getByLabel('Capacity factor').fill('much');
    await look();
    expect(await accessFaults(page), 'narrow, dark and wrong').toEqual([]);
  });
});
