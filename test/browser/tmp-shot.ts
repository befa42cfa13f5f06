import { chromium } from 'playwright';
import { FakeCoordinator, PAGES } from './console-fake.ts';
import { makeEvents, makeSnapshot } from './console-fake-data.ts';
const fake = new FakeCoordinator(PAGES, makeSnapshot());
fake.events = makeEvents();
await fake.start();
const browser = await launchChromium();
const crowd = (count: number, snapshot: ReturnType<typeof makeSnapshot>) => ({ ...snapshot, peers: Array.from({ length: count }, (_, i) => ({ ...snapshot.peers[i % snapshot.peers.length]!, peerId: `tab-${i}` })) });
for (const [width, dark, tabs, l, e] of [[1280, false, 6, 5, 32], [360, true, 60, 5, 32], [1280, true, 500, 58, 256], [2560, false, 500, 58, 256], [360, false, 500, 58, 256]] as const) {
  fake.snapshot = crowd(tabs, makeSnapshot(l, e));
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme: dark ? 'dark' : 'light' });
  await page.goto(`${fake.url}/console#token=${fake.token}`);
  await page.locator('.setting').first().waitFor();
  await page.locator('#bans .new-ban').waitFor();
  const figures = await page.evaluate(() => ({ map: Math.round(document.querySelector('#map')!.getBoundingClientRect().top + scrollY), peers: Math.round(document.querySelector('#peers')!.getBoundingClientRect().top + scrollY), height: document.documentElement.scrollHeight, over: document.documentElement.scrollWidth - innerWidth, cut: [...document.querySelectorAll('.table-scroll')].map((one) => one.scrollWidth - one.clientWidth) }));
  console.log(width, tabs, l, e, JSON.stringify(figures));
  // time to take up a snapshot
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Performance.enable');
  const busy = async () => (await cdp.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'TaskDuration')!.value;
  const before = await busy();
  for (let i = 0; i < 10; i++) { fake.show({ ...fake.snapshot, nowMs: fake.snapshot.nowMs + i * 1000 }); await page.waitForTimeout(700); }
  console.log('  busy ms per snapshot', Math.round(((await busy()) - before) * 1000 / 17), 'snapshot bytes', JSON.stringify(fake.snapshot).length);
  await page.screenshot({ path: `/tmp/w17-govern-${width}-${tabs}-${dark ? 'dark' : 'light'}.png`, fullPage: true });
  await page.close();
}
await browser.close();
await fake.stop();
process.exit(0);
