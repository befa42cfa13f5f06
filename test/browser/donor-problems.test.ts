import { describe, expect, it } from 'vitest';
import { check, coordinator, eventually, lend, MAX_NMSE, page, useFakeCoordinator } from './donor-browser.ts';
import { waitForPhase } from './donor-page.ts';
import { INSECURE_HOST } from './setup.ts';

useFakeCoordinator();

describe('what can go wrong, in the donor’s terms', () => {
  async function expectProblem(title: string, name: string): Promise<void> {
    await page.getByRole('heading', { name: title, level: 1 }).waitFor({ timeout: 60_000 });
    await check(name);
  }

  it('no WebGPU', async () => {
    coordinator.workerPrelude = 'delete Object.getPrototypeOf(navigator).gpu;';
    await lend();
    await expectProblem('This browser doesn’t support WebGPU', 'no-webgpu');
    expect(coordinator.hellos).toEqual([]);
    await page.getByText(/of your CPU’s \d+ threads (is|are) busy/).waitFor();
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
    await expectProblem('This swarm only accepts GPUs', 'no-cpu');
  });

  it('no adapter, and then one', async () => {
    coordinator.workerPrelude =
      'const ask = navigator.gpu.requestAdapter.bind(navigator.gpu); let asked = 0; navigator.gpu.requestAdapter = async (o) => asked++ ? ask(o) : null;';
    await lend();
    await expectProblem('No usable GPU found', 'no-adapter');
    await page.getByRole('button', { name: 'Try again now' }).click();
    await waitForPhase(page, 'waiting');
  });

  it('an address that is not secure', async () => {
    await page.goto(`http://${INSECURE_HOST}:${coordinator.port}/?auto=1`, { waitUntil: 'networkidle' });
    await waitForPhase(page, 'consent');
    await page.getByRole('button', { name: 'Lend my GPU' }).click();
    await expectProblem('This address is not secure', 'insecure');
    expect(coordinator.hellos).toEqual([]);
  });

  it('a GPU that goes away: reported, rebuilt, loaded again from the cache', async () => {
    coordinator.workerPrelude = `
      const request = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (d) { return (globalThis.lastDevice = await request.call(this, d)); };
      new BroadcastChannel('test').onmessage = () => globalThis.lastDevice.destroy();`;
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
    await lend();
    await waitForPhase(page, 'waiting');
    expect((await (await coordinator.donor()).lap()).nmse).toBeLessThan(MAX_NMSE);
    await page.getByText('Cached weights', { exact: true }).click();
    await page.getByText(/storage for this page is full/).waitFor();
    await check('quota');
  });

  it('no invitation: one is pasted, another comes as a link, and both are kept out of sight', async () => {
    coordinator.refusal = {
      ok: false,
      code: 'invite',
      message: 'This swarm is open to invited donors only. Ask its operator for an invitation.',
    };
    await lend();
    await expectProblem('This swarm is invite-only', 'invite');
    expect(coordinator.hellos[0]!.inviteToken).toBeUndefined();
    const field = page.getByLabel('Invitation link or code');
    await field.fill('https://elsewhere.example.org/');
    await page.getByRole('button', { name: 'Use this invitation' }).click();
    await page.getByText('That is neither an invitation link nor a code.').waitFor();
    await check('invite');
    await field.fill(`${coordinator.address}#invite=pasted-invitation`);
    await page.getByRole('button', { name: 'Use this invitation' }).click();
    await eventually(() => coordinator.hellos.at(-1)!.inviteToken).toBe('pasted-invitation');
    await expectProblem('This swarm is invite-only', 'invite');
    coordinator.refusal = undefined;
    // As a link that is opened over the page: the fragment alone changes.
    await page.evaluate(() => (location.hash = '#invite=linked-invitation'));
    await waitForPhase(page, 'waiting');
    expect(coordinator.hellos.at(-1)!.inviteToken).toBe('linked-invitation');
    expect(page.url()).not.toContain('invite');
    expect(coordinator.requests.join()).not.toContain('invitation');
  });

  it('a refused version, then no room, and then room', async () => {
    coordinator.refusal = {
      ok: false,
      code: 'version',
      message: 'The page speaks protocol version 1, this coordinator 2. Reload the page.',
    };
    await lend();
    await expectProblem('This page is out of date', 'version');
    coordinator.refusal = { ok: false, code: 'full', message: 'All places are taken.' };
    await page.getByRole('button', { name: 'Reload the page' }).click();
    await expectProblem('No room right now', 'full');
    coordinator.refusal = undefined;
    await waitForPhase(page, 'waiting');
  });

  it('removed by the operator: not even a reload starts again', async () => {
    await lend();
    const donor = await coordinator.donor();
    donor.dismiss({ code: 'removed', message: 'The operator removed this tab.', retry: false });
    await expectProblem('Removed from the swarm', 'removed');
    await page.reload({ waitUntil: 'networkidle' });
    await waitForPhase(page, 'consent');
    expect(coordinator.hellos.length).toBe(1);
    // While the removal holds, there is nothing to press.
    const untilMs = Date.now() + 3_600_000;
    coordinator.refusal = { ok: false, code: 'removed', message: 'Come back later.', reason: 'too hot', untilMs };
    await page.getByRole('button', { name: 'Lend my GPU' }).click();
    await expectProblem('The operator keeps this browser out for now', 'kept-out');
    expect(await page.getByRole('button', { name: /Try again/ }).count()).toBe(0);
  });

  it('freed by the operator: thanked, and back by itself', async () => {
    await lend();
    const donor = await coordinator.donor();
    donor.standing({ phase: 'draining' });
    await expectProblem('The operator is freeing this tab. Thank you!', 'being-freed');
    const freed = { code: 'drained', message: 'It comes back by itself.', retry: true } as const;
    donor.dismiss({ ...freed, retryAfterMs: 100 });
    await eventually(() => coordinator.hellos.length).toBe(2);
    await waitForPhase(page, 'waiting');
    // For longer than any machine takes to look at it.
    (await coordinator.donor()).dismiss({ ...freed, retryAfterMs: 3_600_000 });
    await waitForPhase(page, 'away');
    expect(await page.getByRole('status').textContent()).toContain('Resting');
    expect(await page.getByRole('button').allTextContents()).not.toContain('Try again now');
    await check('freed');
    expect(coordinator.hellos.length).toBe(2);
  });

  it('a failed self-test', async () => {
    await lend();
    const donor = await coordinator.donor();
    donor.dismiss({ code: 'self-test', message: 'layer 3: NMSE 0.4', retry: false });
    await expectProblem('The self-test failed', 'self-test');
  });

  it('weights that are not what was announced, and then the right ones', async () => {
    coordinator.shardFault = 'corrupt';
    await lend();
    await expectProblem('Damaged weights', 'hash');
    await eventually(() => coordinator.troubles).toEqual(['hash']);
    coordinator.shardFault = undefined;
    await page.getByRole('button', { name: 'Try again now' }).click();
    await waitForPhase(page, 'waiting');
  });

  it('weights that the coordinator does not have', async () => {
    coordinator.shardFault = 'missing';
    await lend();
    await expectProblem('Download failed', 'download');
    coordinator.shardFault = undefined;
    await waitForPhase(page, 'waiting');
  });
});
