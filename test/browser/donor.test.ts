import { describe, expect, it } from 'vitest';
import {
  browser,
  check,
  complaints,
  context,
  coordinator,
  eventually,
  lend,
  MAX_NMSE,
  page,
  startCoordinator,
  useFakeCoordinator,
} from './donor-browser.ts';
import { waitForPhase } from './donor-page.ts';

useFakeCoordinator();

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
    expect(
      coordinator.requests.filter((path) => !/^\/(assets\/.*|manifest.webmanifest|icon.svg)?$/.test(path)),
    ).toEqual(['/donor-info']);
    expect({ workers, sockets, hellos: coordinator.hellos.length, foreign }).toEqual({
      workers: 0,
      sockets: 0,
      hellos: 0,
      foreign: [],
    });
    const text = await page.locator('main').innerText();
    for (const word of ['GPU', 'Download', 'Traffic', 'Power', 'IP address', 'reconstructed'])
      expect(text).toContain(word);
    // This coordinator's own figures, and not those of the pledge.
    for (const said of [
      'Run by Ada',
      'A model of small stories',
      'would be the first',
      'all 24 experts',
      'Up to 1.2 MB',
    ])
      expect(text).toContain(said);
    expect(await page.getByRole('link', { name: 'try it first' }).getAttribute('href')).toBe('./playground');
    await check('consent');
    // It can be installed as an app, from wherever it is.
    const manifest = await page.evaluate(async () => {
      const link = document.querySelector<HTMLLinkElement>('link[rel=manifest]')!;
      const { start_url, icons } = (await (await fetch(link.href)).json()) as {
        start_url: string;
        icons: { src: string }[];
      };
      const icon = await fetch(new URL(icons[0]!.src, link.href));
      return { start: new URL(start_url, link.href).href, icon: icon.status };
    });
    expect(manifest).toEqual({ start: coordinator.address, icon: 200 });
    expect(complaints).toEqual([]);
  });

  it('joins, answers laps as the reference does, pauses, survives a reload without a download, finishes', async () => {
    await page.goto(coordinator.address);
    const slider = page.getByRole('slider', { name: /GPU memory/ });
    await slider.focus();
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowRight');
    let serveShards = () => {};
    coordinator.shardGate = new Promise((resolve) => (serveShards = resolve));
    await page.getByRole('button', { name: 'Lend my GPU' }).click();
    await waitForPhase(page, 'downloading');
    await page.getByText(/of \d.*MB/).waitFor();
    await check('downloading');
    serveShards();
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
    await page.getByText(/It holds 24 experts of layers 3\W+5\./).waitFor();
    await page.waitForFunction(() => document.title.startsWith('Working'));
    await page.getByText('Cached weights', { exact: true }).click();
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

  it('fetches a damaged shard again, and everything after its cached weights were deleted', async () => {
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
    await page.getByText('Cached weights', { exact: true }).click();
    await page.getByRole('button', { name: /Delete cached weights \(.*MB\)/ }).click();
    await page.getByText('No weights are cached in this browser.').waitFor();
    await page.reload();
    await waitForPhase(page, 'waiting');
    expect(coordinator.shardRequests).toBe(2 * coordinator.numExperts + 1);
  });

  it('wants its own click in a fresh visit and in another tab', async () => {
    await lend();
    await waitForPhase(page, 'waiting');
    await page.goto(coordinator.address);
    await waitForPhase(page, 'consent');
    await page.getByText(/are cached in this browser for your next visit/).waitFor();
    await check('consent-kept');
    const other = await context.newPage();
    await other.goto(coordinator.address);
    await waitForPhase(other, 'consent');
    expect(coordinator.hellos.length).toBe(1);
  });

  it('numbers two tabs of one donor, and says goodbye when a page is closed', async () => {
    const other = await context.newPage();
    for (const tab of [page, other]) {
      await tab.goto(coordinator.address);
      await tab.getByRole('button', { name: 'Lend my GPU' }).click();
      await waitForPhase(tab, 'waiting');
    }
    expect(new Set(coordinator.hellos.map((hello) => hello.donorToken)).size).toBe(1);
    expect(new Set(coordinator.hellos.map((hello) => hello.tab))).toEqual(new Set([0, 1]));
    // The limit is the browser's: each has half of it.
    const whole = coordinator.hellos[0]!.pledgeBytes;
    for (const tab of [0, 1]) {
      await eventually(() => coordinator.hellos.findLast((hello) => hello.tab === tab)!.pledgeBytes).toBe(whole / 2);
    }
    for (const tab of [page, other]) await tab.getByText('2 tabs of this browser share').waitFor();
    await other.close({ runBeforeUnload: false });
    await eventually(() => coordinator.intents).toContain('leave');
  });

  it('comes back by itself when the coordinator does, with what it had loaded, and answers others all the time', async () => {
    await lend();
    await waitForPhase(page, 'waiting');
    const { port } = coordinator;
    const downloads = coordinator.shardRequests;
    const home = await coordinator.donor();
    const [guest, other] = [await home.guest('c-00000002'), await home.guest('c-00000003')];
    // With the same ids of laps.
    const laps = await Promise.all([home, guest, other].flatMap((at) => [at.lap(3, 40), at.lap(4, 7), at.lap(5)]));
    for (const { nmse } of laps) expect(nmse).toBeLessThan(MAX_NMSE);
    await page.getByText('Answers for 3 coordinators.').waitFor();
    await check('guests');
    other.close();
    await page.getByText('Answers for 2 coordinators.').waitFor();
    await coordinator.stop();
    await waitForPhase(page, 'away');
    await page.getByText('Meanwhile the tab answers for 1 other coordinator.').waitFor();
    expect((await guest.lap()).nmse).toBeLessThan(MAX_NMSE);
    await page.getByRole('heading', { name: 'Can’t reach the coordinator' }).waitFor();
    await page.getByText(/Next attempt in \d+ s/).waitFor();
    // Nothing was being downloaded, and what was done is done.
    await page.getByRole('button', { name: 'Try again now' }).click();
    await page.getByText(/Next attempt in \d+ s/).waitFor();
    expect(await page.locator('main').textContent()).not.toContain('Downloading');
    expect(await page.getByRole('region', { name: 'This visit so far' }).textContent()).toMatch(/[1-9]\d* (kB|MB|MiB)/);
    await check('away');
    await startCoordinator(port);
    await waitForPhase(page, 'waiting');
    expect(downloads).toBeGreaterThan(0);
    expect(coordinator.shardRequests).toBe(0);
    expect((await (await coordinator.donor()).lap()).nmse).toBeLessThan(MAX_NMSE);
    expect((await guest.lap()).nmse).toBeLessThan(MAX_NMSE);
    await page.getByRole('button', { name: 'Finish, then stop' }).click();
    await page.getByRole('button', { name: 'Stop now' }).click();
    await eventually(() => guest.link.state).toBe('closed');
    guest.close();
  });

  it('relays laps through the page where a channel cannot be transferred', async () => {
    await page.addInitScript(() => {
      const original = Worker.prototype.postMessage;
      Worker.prototype.postMessage = function (this: Worker, message: { type: string }, transfer?: never) {
        if (message.type === 'channel') throw new DOMException('not transferable here', 'DataCloneError');
        original.call(this, message, transfer as never);
      } as never;
    });
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
    await page.getByRole('heading', { name: 'This doesn’t fit on your GPU' }).waitFor();
    await eventually(() => coordinator.troubles).toEqual(['limits']);
    await page.getByRole('slider').fill('2');
    await page.getByRole('button', { name: 'Try again with 512 MiB' }).click();
    await waitForPhase(page, 'waiting');
    expect(coordinator.hellos.map((hello) => hello.pledgeBytes)).toEqual([2 ** 20, 512 * 2 ** 20]);
    await page.getByText('Limits', { exact: true }).click();
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
