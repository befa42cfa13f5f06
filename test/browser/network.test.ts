import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Core } from '../../coordinator/src/index.ts';
import { heldOutPerplexity, heldOutText } from '../golden/tiny-stories.ts';
import { answer } from '../integration/answers.ts';
import { GOLDEN, MIN_MARGIN } from '../integration/golden.ts';
import { until } from '../integration/virtual-donor.ts';
import { ADMIN_TOKEN, expectTabsServed, Network } from './network.ts';

/** The model's next token at each position of prompt and text, by teacher forcing. */
async function choices(core: Core, ids: readonly number[]): Promise<{ best: number; logprob: number }[]> {
  const { events } = await answer(core, ids, { maxTokens: 0, promptLogprobs: true, topLogprobs: 1 });
  const prompt = events.find((event) => event.type === 'prompt-logprobs');
  return prompt!.tokens.slice(1).map((token) => ({ best: token.topLogprobs![0]!.tokenId, logprob: token.logprob! }));
}

async function metric(url: string, line: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const found = text.split('\n').find((candidate) => candidate.startsWith(`${line} `));
  if (found === undefined) throw new Error(`/metrics has no ${line}`);
  return Number(found.split(' ').at(-1));
}

/** The held-out stories, one document each. */
const STORIES = heldOutText
  .split('<|endoftext|>')
  .map((story) => story.trim())
  .filter(Boolean);

/** Negative log likelihood of stories and of their ends, each story read alone, in nats. */
async function nllOf({ coordinator }: Network, stories: readonly string[]): Promise<{ nll: number; tokens: number }> {
  const read = await Promise.all(
    stories.map((story) => {
      const ids = [...coordinator.tokenizer.encodePrompt(story), coordinator.config.eosTokenIds[0]!];
      return choices(coordinator, ids);
    }),
  );
  const logprobs = read.flat().map(({ logprob }) => logprob);
  return { nll: -logprobs.reduce((sum, logprob) => sum + logprob, 0), tokens: logprobs.length };
}

describe('four tabs, f16', () => {
  let network: Network;

  beforeAll(async () => {
    network = await Network.start();
    await network.join(4);
  });
  afterAll(() => network.stop());

  it('choose the golden token wherever the margin allows a promise', async () => {
    for (const { prompt_ids: prompt, greedy_ids: greedy, margin_to_second: margins } of GOLDEN) {
      const said = await choices(network.coordinator, [...prompt, ...greedy]);
      for (const [i, id] of greedy.entries()) {
        if (margins[i]! >= MIN_MARGIN) expect({ i, id: said[prompt.length - 1 + i]!.best }).toEqual({ i, id });
      }
    }
    expectTabsServed(network.coordinator);
  });

  it('write a story for the openai client, in a stream, its experts in tabs', async () => {
    const client = new OpenAI({ baseURL: `${network.coordinator.url}/v1`, apiKey: 'none' });
    const before = { ...network.coordinator.dispatcher.figures };
    const stream = await client.completions.create({
      model: 'tiny-stories',
      prompt: GOLDEN[3]!.prompt,
      max_tokens: 48,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let tokens = 0;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.text ?? '';
      tokens = chunk.usage?.completion_tokens ?? tokens;
    }
    expect(text).toBe(network.coordinator.tokenizer.decode(GOLDEN[3]!.greedy_ids));
    expect(tokens).toBe(48);
    const { figures } = network.coordinator.dispatcher;
    const rowsBy = (where: string): Promise<number> =>
      metric(network.coordinator.url, `shoal_expert_rows_total{by="${where}"}`);
    expect(await rowsBy('tab')).toBe(figures.tabAssignments);
    expect(await rowsBy('coordinator')).toBe(figures.fallbackAssignments);
    expectTabsServed(network.coordinator, before);
    expect(network.tabs.flatMap((tab) => tab.errors)).toEqual([]);
  });

  it('serve eight streams at once, each token for token as it would be alone', async () => {
    const { coordinator } = network;
    const requests = GOLDEN.map(({ prompt_ids: prompt }, i) => ({
      prompt,
      options: { seed: 40 + i, temperature: 0.8, topP: 0.95, maxTokens: 12 + 2 * i },
    }));
    const alone: number[][] = [];
    for (const { prompt, options } of requests) alone.push((await answer(coordinator, prompt, options)).ids);
    const passes = coordinator.scheduler.passes;
    const together = await Promise.all(requests.map(({ prompt, options }) => answer(coordinator, prompt, options)));
    expect(together.map(({ ids }) => ids)).toEqual(alone);
    // They ran together in at most two micro-batches: the longest one sets the number of passes, not the sum.
    expect(coordinator.scheduler.passes - passes).toBeLessThan(alone.reduce((sum, ids) => sum + ids.length, 0) / 2);
  });

  it('have the perplexity of a story that an independent implementation computes, within 0.1 %', async () => {
    const { nll, tokens } = await nllOf(network, STORIES.slice(0, 1));
    const [story] = heldOutPerplexity.documents;
    expect(tokens).toBe(story!.tokens);
    expect(Math.exp((nll - story!.nll) / tokens)).toBeCloseTo(1, 3);
  });

  it('finish the same answers when one crashes, then all, then two new ones join', async () => {
    const cases = [GOLDEN[3]!, GOLDEN[6]!];
    let tokens = 0;
    const [first, ...others] = network.tabs;
    const shocks = new Map<number, () => Promise<unknown>>([
      [10, () => network.crash(first!)],
      [30, () => Promise.all(others.map((tab) => network.crash(tab)))],
      [50, () => network.join(2)],
    ]);
    const answers = await Promise.all(
      cases.map(({ prompt_ids: prompt }) =>
        answer(network.coordinator, prompt, { onToken: async () => void (await shocks.get(++tokens)?.()) }),
      ),
    );
    expect(answers.map(({ ids }) => ids)).toEqual(cases.map(({ greedy_ids: greedy }) => greedy));

    const { coordinator } = network;
    await network.settle(2);
    expect(coordinator.swarm.departed).toBe(4);
    expect(await metric(coordinator.url, 'shoal_peers_departed_total')).toBe(4);
    expect(await metric(coordinator.url, 'shoal_peers_joined_total')).toBe(6);
    expect(await metric(coordinator.url, 'shoal_expert_rows_total{by="coordinator"}')).toBeGreaterThan(0);
    await expectConsoleTells(network, 'vanished');
  });
});

describe('one tab, q8', () => {
  let network: Network;

  beforeAll(async () => {
    network = await Network.start({ quant: 'q8', replicas: 1 });
    await network.join(1);
  });
  afterAll(() => network.stop());

  it('has the perplexity of stories that an independent implementation computes, within 1 %', async () => {
    const stories = STORIES.slice(0, 3);
    const { nll, tokens } = await nllOf(network, stories);
    const expected = heldOutPerplexity.documents.slice(0, stories.length);
    const sum = (of: (document: { tokens: number; nll: number }) => number): number =>
      expected.reduce((total, document) => total + of(document), 0);
    expect(tokens).toBe(sum((document) => document.tokens));
    // New tabs are given no more rows of long prompts than their audits keep up with; the coordinator computes the rest. How
    // fast audits are is the machine's matter, but a tab may always be 256 rows ahead.
    expect(network.coordinator.dispatcher.figures.tabAssignments).toBeGreaterThan(500);
    expect(Math.abs(Math.exp((nll - sum((document) => document.nll)) / tokens) - 1)).toBeLessThan(0.01);
  });

  it('downloads no shard twice when it reloads', async () => {
    const [tab] = network.tabs;
    const { coordinator } = network;
    const prompt = GOLDEN[6]!.prompt_ids;
    const { ids: before } = await answer(coordinator, prompt);
    const downloads = await metric(coordinator.url, 'shoal_shard_downloads_total');
    expect(downloads).toBe(160);
    const first = coordinator.swarm.peers[0]!.peerId;
    await tab!.page.reload();
    await until(
      'the tab to be back',
      () => {
        const [peer] = coordinator.swarm.peers;
        return peer !== undefined && peer.peerId !== first && peer.settled && coordinator.swarm.uncovered() === 0;
      },
      60_000,
    );
    expect(await metric(coordinator.url, 'shoal_shard_downloads_total')).toBe(downloads);
    const { tabAssignments, fallbackAssignments } = coordinator.dispatcher.figures;
    expect((await answer(coordinator, prompt)).ids).toEqual(before);
    expectTabsServed(coordinator, { tabAssignments, fallbackAssignments });
  });

  it('stays paused when it reloads, and serves again when resumed', async () => {
    const [tab] = network.tabs;
    const { swarm } = network.coordinator;
    const [first, joined] = [swarm.peers[0]!.peerId, swarm.joined];
    await tab!.page.getByRole('button', { name: /^Pause/ }).click();
    await until('the pause', () => swarm.peers[0]?.state === 'paused');
    await tab!.page.reload();
    const isBack = (): boolean => swarm.peers[0]?.connected === true && swarm.peers[0].peerId !== first;
    await until('the tab to be back, paused', () => isBack() && swarm.peers[0]!.state === 'paused', 60_000);
    await tab!.page.getByRole('button', { name: /^Resume/ }).click();
    await network.settle(1);
    expect(swarm.joined).toBe(joined + 1);
  });
});

async function expectConsoleTells(network: Network, word: string): Promise<void> {
  const context = await network.browser.browser.newContext();
  const page = await context.newPage();
  await page.goto(`${network.coordinator.url}/console#token=${ADMIN_TOKEN}`);
  await page.getByText(word).first().waitFor();
  await page
    .getByText(/2 tabs hold every expert/)
    .first()
    .waitFor();
  await context.close();
}
