import { rm } from 'node:fs/promises';
import { closeRtc } from '@shoal/transport/node';
import type { Browser, BrowserContext, Page } from 'playwright';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FakeCoordinator } from './donor-fake-coordinator.ts';
import { launchChromium } from '../../tools/browser/chromium.ts';
import { axeViolations, buildDonorPage, shoot, waitForPhase } from './donor-page.ts';

/** f16 on the wire costs 4e-4 relative, i.e. about 2e-7 squared. */
const MAX_NMSE = 1e-6;

let dist: string;
let browser: Browser;
let coordinator: FakeCoordinator;
let context: BrowserContext;
let page: Page;
let complaints: string[];

beforeAll(async () => {
  dist = await buildDonorPage();
  browser = await launchChromium();
});

afterAll(async () => {
  await browser?.close();
  await closeRtc();
  await rm(dist, { recursive: true, force: true });
});

beforeEach(async () => {
  coordinator = new FakeCoordinator(dist);
  await coordinator.start();
  context = await browser.newContext();
  page = await context.newPage();
  complaints = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    if (/Content Security Policy/i.test(message.text())) complaints.push(message.text());
  });
});

afterEach(async () => {
  await context.close();
  await coordinator.stop();
});

/** As long as anything here may take; a busy machine is no failure. */
function eventually<T>(value: () => T | Promise<T>) {
  return expect.poll(value, { timeout: 60_000 });
}

async function lend(): Promise<void> {
  await page.getByRole('button', { name: 'Lend my GPU' }).click();
}

/** In both colour schemes, and as narrow as a telephone. */
async function check(name: string): Promise<void> {
  await shoot(page, name);
  for (const colorScheme of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme });
    expect(await axeViolations(page), `${name}, ${colorScheme}`).toEqual([]);
  }
  const wide = page.viewportSize()!;
  await page.setViewportSize({ width: 360, height: 780 });
  const overflowPx = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect(overflowPx, `${name} at 360 px`).toBeLessThanOrEqual(0);
  await page.setViewportSize(wide);
}

describe('the donor’s page', () => {
  it('asks first: before the click nothing but its own files is fetched, and no GPU is asked for', async () => {
    await page.addInitScript(() => {
      const gpu = (navigator as { gpu?: { requestAdapter: () => Promise<unknown> } }).gpu;
      if (gpu) gpu.requestAdapter = () => Promise.reject(new Error('asked before the click'));
    });
    let workers = 0;
    let sockets = 0;
    const foreign: string[] = [];
    page.on('worker', () => workers++);
    page.on('websocket', () => sockets++);
    page.on('request', (request) => {
      if (!request.url().startsWith(coordinator.address) && !request.url().startsWith('data:'))
        foreign.push(request.url());
    });
    await page.goto(coordinator.address, { waitUntil: 'networkidle' });
    await page.getByRole('button', { name: 'Lend my GPU' }).waitFor();
    expect(coordinator.requests.filter((path) => path !== '/' && !path.startsWith('/assets/'))).toEqual([]);
    expect({ workers, sockets, hellos: coordinator.hellos.length, foreign }).toEqual({
      workers: 0,
      sockets: 0,
      hellos: 0,
      foreign: [],
    });
    const text = await page.locator('main').innerText();
    for (const word of ['GPU', 'Download', 'Traffic', 'Power', 'IP address', 'reconstructed'])
      expect(text).toContain(word);
    await check('consent');
    expect(complaints).toEqual([]);
  });

  it('joins, answers laps as the reference does, pauses, survives a reload without a download, finishes', async () => {
    await page.goto(coordinator.address);
    const slider = page.getByRole('slider', { name: /GPU memory/ });
    await slider.focus();
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowRight');
    coordinator.shardFault = 'slow';
    await lend();
    await waitForPhase(page, 'downloading');
    await page.getByText(/of \d.*MB/).waitFor();
    await check('downloading');
    coordinator.shardFault = undefined;
    const donor = await coordinator.donor();
    await waitForPhase(page, 'waiting');
    expect(coordinator.hellos[0]!.pledgeBytes).toBe(256 * 2 ** 20);
    expect(coordinator.hellos[0]!.adapter.maxBufferBytes).toBeGreaterThan(0);
    expect(coordinator.shardRequests).toBe(coordinator.numExperts);

    for (const layer of [3, 4, 5]) {
      const { nmse } = await donor.lap(layer, 7);
      expect(nmse).toBeLessThan(MAX_NMSE);
    }
    const laps = await Promise.all(Array.from({ length: 12 }, (_, i) => donor.lap(3 + (i % 3), 40)));
    for (const { nmse } of laps) expect(nmse).toBeLessThan(MAX_NMSE);
    donor.standing({ phase: 'working', rowsPerSecond: 412, rttMs: 23, lapMs: 31 });
    await waitForPhase(page, 'working');
    await page.getByText(/Your tab is answering for layers 3\W+5 · 24 experts/).waitFor();
    await page.waitForFunction(() => document.title.startsWith('Working'));
    await page.getByText('Limits and stored weights').click();
    await check('working');

    await page.getByRole('button', { name: 'Pause' }).click();
    await waitForPhase(page, 'paused');
    await eventually(() => coordinator.intents).toContain('pause');
    expect((await donor.lap()).refusal).toBe('paused');
    await check('paused');
    await page.getByRole('button', { name: 'Resume' }).click();
    await eventually(() => coordinator.intents).toContain('resume');
    expect((await donor.lap()).nmse).toBeLessThan(MAX_NMSE);

    await page.reload();
    await waitForPhase(page, 'waiting');
    const again = await coordinator.donor();
    expect(again).not.toBe(donor);
    expect((await again.lap(4)).nmse).toBeLessThan(MAX_NMSE);
    expect(coordinator.shardRequests).toBe(coordinator.numExperts);
    expect(coordinator.hellos.map((hello) => hello.donorToken)).toEqual([
      coordinator.hellos[0]!.donorToken,
      coordinator.hellos[0]!.donorToken,
    ]);

    await page.getByRole('button', { name: 'Finish, then stop' }).click();
    await waitForPhase(page, 'finishing');
    await eventually(() => coordinator.intents).toContain('finish');
    await check('finishing');
    again.dismiss({ code: 'finished', message: 'thank you', retry: false });
    await waitForPhase(page, 'finished');
    await page.getByRole('heading', { name: 'Thank you.' }).waitFor();
    await check('finished');

    await page.getByRole('button', { name: 'Lend again' }).click();
    await waitForPhase(page, 'waiting');
    expect(coordinator.shardRequests).toBe(coordinator.numExperts);
    expect(complaints).toEqual([]);
  });

  it('deletes what it kept, and then downloads again', async () => {
    await page.goto(coordinator.address);
    await lend();
    await waitForPhase(page, 'waiting');
    await page.getByText('Limits and stored weights').click();
    await page.getByRole('button', { name: /Delete cached weights \(.*MB\)/ }).click();
    await page.getByText('No weights are kept in this browser.').waitFor();
    await page.reload();
    await waitForPhase(page, 'waiting');
    expect(coordinator.shardRequests).toBe(2 * coordinator.numExperts);
  });

  it('throws away a kept shard that has been damaged, and fetches that one again', async () => {
    await page.goto(coordinator.address);
    await lend();
    await waitForPhase(page, 'waiting');
    await page.evaluate(async () => {
      const cache = await caches.open('shoal-shards-v1');
      const [first] = await cache.keys();
      const response = (await cache.match(first!))!;
      const bytes = new Uint8Array(await response.arrayBuffer());
      bytes[17] = bytes[17]! ^ 1;
      await cache.put(first!, new Response(bytes, { headers: response.headers }));
    });
    await page.reload();
    await waitForPhase(page, 'waiting');
    expect(coordinator.shardRequests).toBe(coordinator.numExperts + 1);
    expect((await (await coordinator.donor()).lap()).nmse).toBeLessThan(MAX_NMSE);
  });

  it('says goodbye when its page goes away', async () => {
    await page.goto(coordinator.address);
    await lend();
    await waitForPhase(page, 'waiting');
    await page.close({ runBeforeUnload: false });
    await eventually(() => coordinator.intents).toContain('leave');
  });

  it('wants its own click in a fresh visit and in another tab', async () => {
    await page.goto(coordinator.address);
    await lend();
    await waitForPhase(page, 'waiting');
    await page.goto(coordinator.address);
    await waitForPhase(page, 'consent');
    await page.getByText(/are kept in this browser for the next visit/).waitFor();
    await check('consent-kept');
    const other = await context.newPage();
    await other.goto(coordinator.address);
    await waitForPhase(other, 'consent');
    expect(coordinator.hellos.length).toBe(1);
  });

  it('says of two tabs of one browser that they are one donor’s, and which is which', async () => {
    const other = await context.newPage();
    for (const tab of [page, other]) {
      await tab.goto(coordinator.address);
      await tab.getByRole('button', { name: 'Lend my GPU' }).click();
      await waitForPhase(tab, 'waiting');
    }
    expect(new Set(coordinator.hellos.map((hello) => hello.donorToken)).size).toBe(1);
    expect(coordinator.hellos.map((hello) => hello.tab)).toEqual([0, 1]);
  });

  it('comes back by itself when the coordinator does, with what it had loaded', async () => {
    await page.goto(coordinator.address);
    await lend();
    await waitForPhase(page, 'waiting');
    const { port } = coordinator;
    const downloads = coordinator.shardRequests;
    await coordinator.stop();
    await waitForPhase(page, 'away');
    await page.getByRole('heading', { name: 'The coordinator can’t be reached' }).waitFor();
    await page.getByText(/Next attempt in \d+ s/).waitFor();
    await check('away');
    coordinator = new FakeCoordinator(dist);
    await coordinator.start(port);
    await waitForPhase(page, 'waiting');
    expect(downloads).toBeGreaterThan(0);
    expect(coordinator.shardRequests).toBe(0);
    expect((await (await coordinator.donor()).lap()).nmse).toBeLessThan(MAX_NMSE);
  });

  it('relays laps through the page where a channel cannot be transferred', async () => {
    await page.addInitScript(() => {
      const original = Worker.prototype.postMessage;
      Worker.prototype.postMessage = function (this: Worker, message: { type: string }, transfer?: never) {
        if (message.type === 'channel') throw new DOMException('not transferable here', 'DataCloneError');
        original.call(this, message, transfer as never);
      } as never;
    });
    await page.goto(coordinator.address);
    await lend();
    await waitForPhase(page, 'waiting');
    const donor = await coordinator.donor();
    // More rows than fit one message, so that the relay cuts and joins as the channel does.
    const laps = await Promise.all(Array.from({ length: 6 }, () => donor.lap(4, 300)));
    for (const { nmse } of laps) expect(nmse).toBeLessThan(MAX_NMSE);
    await page.getByText(/the work passes through the page/).waitFor();
  });

  it('spreads laps over as many connections as the coordinator wants, and serves on when one is gone', async () => {
    coordinator.lapConnections = 4;
    await page.goto(coordinator.address);
    await lend();
    await waitForPhase(page, 'waiting');
    const donor = await coordinator.donor();
    await eventually(() => donor.channels().length).toBe(4);
    const sent = donor.channels().map(() => 0);
    for (const [i, channel] of donor.channels().entries()) {
      const send = channel.send.bind(channel);
      channel.send = (message) => {
        sent[i]!++;
        send(message);
      };
    }
    const laps = async (): Promise<void> => {
      for (const { nmse } of await Promise.all(Array.from({ length: 6 }, () => donor.lap(4, 300)))) {
        expect(nmse).toBeLessThan(MAX_NMSE);
      }
    };
    await laps();
    expect(Math.min(...sent)).toBeGreaterThan(5);
    donor.channels()[2]!.close();
    await eventually(() => donor.channels().length).toBe(3);
    await laps();
    await waitForPhase(page, 'waiting');
  });

  it('changes its memory limit by joining again, and refuses an assignment above it', async () => {
    await page.goto(`${coordinator.address}?auto=1&pledge=1`);
    await waitForPhase(page, 'failed');
    await page.getByRole('heading', { name: 'This does not fit your GPU' }).waitFor();
    await eventually(() => coordinator.troubles).toEqual(['limits']);
    await page.getByRole('slider').fill('2');
    await page.getByRole('button', { name: 'Try again with 512 MiB' }).click();
    await waitForPhase(page, 'waiting');
    expect(coordinator.hellos.map((hello) => hello.pledgeBytes)).toEqual([2 ** 20, 512 * 2 ** 20]);
    await page.getByText('Limits and stored weights').click();
    await page.getByRole('slider').fill('0');
    await page.getByRole('button', { name: 'Change to 128 MiB' }).click();
    await eventually(() => coordinator.hellos.at(-1)!.pledgeBytes).toBe(128 * 2 ** 20);
    await waitForPhase(page, 'waiting');
    expect(coordinator.shardRequests).toBe(coordinator.numExperts);
  });

  it('presses its own button only for a program on this machine', async () => {
    await page.goto(`${coordinator.address}?auto=1&pledge=64`);
    await waitForPhase(page, 'waiting');
    expect(coordinator.hellos[0]!.pledgeBytes).toBe(64 * 2 ** 20);
    const person = await browser.newContext();
    await person.addInitScript(() => Object.defineProperty(navigator, 'webdriver', { get: () => false }));
    const visit = await person.newPage();
    await visit.goto(`${coordinator.address}?auto=1`, { waitUntil: 'networkidle' });
    await waitForPhase(visit, 'consent');
    await person.close();
    expect(coordinator.hellos.length).toBe(1);
  });
});

describe('what can go wrong, in the donor’s terms', () => {
  async function expectProblem(title: string, name: string): Promise<void> {
    await page.getByRole('heading', { name: title, level: 1 }).waitFor({ timeout: 60_000 });
    await check(name);
  }

  it('no WebGPU', async () => {
    coordinator.workerPrelude = 'delete Object.getPrototypeOf(navigator).gpu;';
    await page.goto(coordinator.address);
    await lend();
    await expectProblem('This browser has no WebGPU', 'no-webgpu');
    expect(coordinator.hellos).toEqual([]);
    await page.getByText(/of your processor’s \d+ (is|are) busy/).waitFor();
    await page.getByRole('button', { name: 'Lend my CPU instead' }).click();
    await waitForPhase(page, 'waiting');
    expect(coordinator.hellos[0]!.adapter).toMatchObject({ architecture: 'wasm', vendor: 'cpu' });
    expect((await (await coordinator.donor()).lap()).nmse).toBeLessThan(MAX_NMSE);
  });

  it('a processor where only GPUs are wanted', async () => {
    coordinator.refusal = {
      ok: false,
      code: 'no-cpu',
      message: 'This coordinator accepts only tabs that compute with WebGPU.',
    };
    await page.goto(coordinator.address);
    await page.getByRole('radio', { name: /CPU/ }).check();
    await page.getByRole('button', { name: 'Lend my CPU' }).click();
    await expectProblem('This swarm takes GPUs only', 'no-cpu');
  });

  it('no adapter, and then one', async () => {
    coordinator.workerPrelude =
      'const ask = navigator.gpu.requestAdapter.bind(navigator.gpu); let asked = 0; navigator.gpu.requestAdapter = async (o) => asked++ ? ask(o) : null;';
    await page.goto(coordinator.address);
    await lend();
    await expectProblem('No usable GPU found', 'no-adapter');
    await page.getByRole('button', { name: 'Try again now' }).click();
    await waitForPhase(page, 'waiting');
  });

  it('an address that is not secure', async () => {
    const insecure = await launchChromium({ extraFlags: ['--host-resolver-rules=MAP shoal.test 127.0.0.1'] });
    try {
      page = await insecure.newPage();
      await page.goto(`http://shoal.test:${coordinator.port}/?auto=1`, { waitUntil: 'networkidle' });
      await waitForPhase(page, 'consent');
      await lend();
      await expectProblem('This address is not secure', 'insecure');
      expect(coordinator.hellos).toEqual([]);
    } finally {
      await insecure.close();
    }
  });

  it('a GPU that goes away: reported, rebuilt, loaded again from the cache', async () => {
    coordinator.workerPrelude = `
      const request = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (d) { return (globalThis.lastDevice = await request.call(this, d)); };
      new BroadcastChannel('test').onmessage = () => globalThis.lastDevice.destroy();`;
    await page.goto(coordinator.address);
    await lend();
    await waitForPhase(page, 'waiting');
    const donor = await coordinator.donor();
    await page.evaluate(() => new BroadcastChannel('test').postMessage('lose the device'));
    await eventually(() => coordinator.troubles).toEqual(['device-lost']);
    await eventually(async () => (await donor.lap()).nmse ?? Number.NaN).toBeLessThan(MAX_NMSE);
    expect(coordinator.shardRequests).toBe(coordinator.numExperts);
    await waitForPhase(page, 'waiting', 'working');
  });

  it('a full disk: works from memory and says so', async () => {
    coordinator.workerPrelude =
      "Cache.prototype.put = () => Promise.reject(new DOMException('full', 'QuotaExceededError'));";
    await page.goto(coordinator.address);
    await lend();
    await waitForPhase(page, 'waiting');
    expect((await (await coordinator.donor()).lap()).nmse).toBeLessThan(MAX_NMSE);
    await page.getByText('Limits and stored weights').click();
    await page.getByText(/storage for this page is full/).waitFor();
    await check('quota');
  });

  it('a version that the coordinator refuses', async () => {
    coordinator.refusal = {
      ok: false,
      code: 'version',
      message: 'The page speaks protocol version 1, this coordinator 2. Reload the page.',
    };
    await page.goto(coordinator.address);
    await lend();
    await expectProblem('This page is out of date', 'version');
    await page.getByRole('button', { name: 'Reload the page' }).waitFor();
  });

  it('no invitation: one is pasted, another comes as a link, and both are kept out of sight', async () => {
    coordinator.refusal = {
      ok: false,
      code: 'invite',
      message: 'This swarm is open to invited donors only. Ask its operator for an invitation.',
    };
    await page.goto(coordinator.address);
    await lend();
    await expectProblem('This swarm is for invited donors', 'invite');
    expect(coordinator.hellos[0]!.inviteToken).toBeUndefined();
    const field = page.getByLabel('Invitation link or code');
    await field.fill('https://elsewhere.example.org/');
    await page.getByRole('button', { name: 'Use this invitation' }).click();
    await page.getByText('That is no invitation').waitFor();
    await check('invite');
    await field.fill(`${coordinator.address}#invite=pasted-invitation`);
    await page.getByRole('button', { name: 'Use this invitation' }).click();
    await eventually(() => coordinator.hellos.at(-1)!.inviteToken).toBe('pasted-invitation');
    await expectProblem('This swarm is for invited donors', 'invite');
    coordinator.refusal = undefined;
    // As a link that is opened over the page: the fragment alone changes.
    await page.evaluate(() => (location.hash = '#invite=linked-invitation'));
    await waitForPhase(page, 'waiting');
    expect(coordinator.hellos.at(-1)!.inviteToken).toBe('linked-invitation');
    expect(page.url()).not.toContain('invite');
    expect(coordinator.requests.join()).not.toContain('invitation');
  });

  it('no room, and then room', async () => {
    coordinator.refusal = { ok: false, code: 'full', message: 'All places are taken.' };
    await page.goto(coordinator.address);
    await lend();
    await expectProblem('No room at the moment', 'full');
    coordinator.refusal = undefined;
    await waitForPhase(page, 'waiting');
  });

  it('removed by the operator: not even a reload starts again', async () => {
    await page.goto(coordinator.address);
    await lend();
    const donor = await coordinator.donor();
    donor.dismiss({ code: 'removed', message: 'The operator removed this tab.', retry: false });
    await expectProblem('Removed by the operator', 'removed');
    await page.reload({ waitUntil: 'networkidle' });
    await waitForPhase(page, 'consent');
    expect(coordinator.hellos.length).toBe(1);
  });

  it('a failed self-test', async () => {
    await page.goto(coordinator.address);
    await lend();
    const donor = await coordinator.donor();
    donor.dismiss({ code: 'self-test', message: 'layer 3: NMSE 0.4', retry: false });
    await expectProblem('The self-test failed', 'self-test');
  });

  it('weights that are not what was announced, and then the right ones', async () => {
    coordinator.shardFault = 'corrupt';
    await page.goto(coordinator.address);
    await lend();
    await expectProblem('Damaged weights', 'hash');
    await eventually(() => coordinator.troubles).toEqual(['hash']);
    coordinator.shardFault = undefined;
    await page.getByRole('button', { name: 'Try again now' }).click();
    await waitForPhase(page, 'waiting');
  });

  it('weights that the coordinator does not have', async () => {
    coordinator.shardFault = 'missing';
    await page.goto(coordinator.address);
    await lend();
    await expectProblem('The download broke off', 'download');
    coordinator.shardFault = undefined;
    await waitForPhase(page, 'waiting');
  });
});
