import { closeRtc } from '@shoal/transport/node';
import { afterAll, expect, it } from 'vitest';
import { until } from '../integration/virtual-donor.ts';
import { FakeCoordinator } from './donor-fake-coordinator.ts';
import { DONOR_PAGE } from './donor-page.ts';
import { RawChromium } from './raw-chromium.ts';

const coordinator = new FakeCoordinator(DONOR_PAGE);
afterAll(async () => {
  await coordinator.stop();
  await closeRtc();
});

it('a tab that the browser discarded shows no figures, and serves again by itself when it is shown', async () => {
  await coordinator.start();
  const chromium = await RawChromium.launch();
  try {
    const url = `${coordinator.address}?auto=1&pledge=64`;
    const tab = await chromium.open(url);
    const donor = await coordinator.donor();
    donor.standing({ phase: 'working', rowsPerSecond: 24 });
    await chromium.discard(url);
    await until('the tab to be gone', () => coordinator.donors === 0);
    const titles = (await chromium.tabs()).map(({ title }) => title).filter((title) => title.includes('Shoal'));
    expect(titles.join()).not.toMatch(/\d/);
    expect(coordinator.hellos.length).toBe(1);
    await chromium.show((await chromium.tabs()).find((one) => one.url === url)?.targetId ?? tab);
    const again = await coordinator.donor();
    expect((await again.lap()).nmse).toBeLessThan(1e-6);
    // Without a download: the weights are cached.
    expect(coordinator.shardRequests).toBe(coordinator.numExperts);
  } finally {
    await chromium.close();
  }
});
