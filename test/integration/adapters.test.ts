import { readFileSync } from 'node:fs';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ExpertBackend, WorkItem } from '@shoal/kernels';
import { type Coordinator, type Core, createCore, defaultConfig } from '../../coordinator/src/index.ts';
import { fixtureDir, readTensors } from '../golden/families.ts';
import {
  ADAPTERS,
  adapterRoot,
  complete,
  type Completion,
  MODEL,
  post,
  soak,
  startWithAdapters,
  TOKEN,
} from './adapter-soak.ts';
import { type Answer, answer } from './answers.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';

const read = readTensors(join(adapterRoot, 'reference.safetensors'));
const prompt = Array.from(read('ids'));
const SHIPPED = join(import.meta.dirname, '../../models/adapters');
/** Made by tools/train/adapters/losses.py. */
const HELD_OUT = join(import.meta.dirname, '../golden/fixtures/held-out-styles.json');
const mixtures = join(adapterRoot, '../../xlora');

let cacheDir: string;
/** With the fixture's adapters, and its mixtures in `xlora`. */
let root: string;
let coordinator: Coordinator;
beforeAll(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'shoal-adapters-'));
  root = join(cacheDir, 'adapters');
  await cp(adapterRoot, root, { recursive: true });
  await cp(join(mixtures, MODEL), join(root, 'xlora'), { recursive: true });
  const adapters = new Map([
    ['first', join(adapterRoot, 'attention')],
    ['mixed', join(mixtures, MODEL, 'soft')],
  ]);
  coordinator = await startWithAdapters(cacheDir, { adapters, adapterRoot: root });
});
afterAll(async () => {
  await coordinator.close();
  await rm(cacheDir, { recursive: true });
});

const operate = (path: string, body: object, token: string | undefined = TOKEN): Promise<Response> =>
  post(coordinator.url, path, body, token);
const load = (name: string, path: string, more = {}): Promise<Response> =>
  operate('/v1/load_lora_adapter', { lora_name: name, lora_path: path, ...more });
const unload = (name: string): Promise<Response> => operate('/v1/unload_lora_adapter', { lora_name: name });

/** The most likely token after a text, as PEFT has it, and its log-probability; logits [tokens, vocabSize]. */
function mostLikely(logits: Float32Array, vocabSize: number): { id: number; logprob: number } {
  const last = logits.subarray(logits.length - vocabSize);
  const id = last.indexOf(Math.max(...last));
  const sum = last.reduce((total, logit) => total + Math.exp(logit - last[id]!), 0);
  return { id, logprob: -Math.log(sum) };
}

async function expectPeftAnswer(name: string, adapter: string, { from = read, ids = prompt } = {}): Promise<void> {
  const { model, choices } = await complete(coordinator.url, name, ids, 1);
  expect(model).toBe(name);
  const { id, logprob } = mostLikely(from(adapter), coordinator.config.vocabSize);
  expect(choices[0]!.token_ids).toEqual([id]);
  expect(choices[0]!.logprobs.token_logprobs[0]).toBeCloseTo(logprob, 2);
}

describe('adapters', () => {
  it('answer as PEFT does, by name, one after the other from the same prompt', async () => {
    const base = await complete(coordinator.url, MODEL, prompt, 1);
    await expectPeftAnswer('first', 'attention');
    for (const adapter of ADAPTERS) {
      expect(await (await load(adapter, adapter)).text()).toBe(
        `Success: LoRA adapter '${adapter}' added successfully.`,
      );
      await expectPeftAnswer(adapter, adapter);
    }
    // Keys and values of the same tokens are others under each.
    expect(await complete(coordinator.url, MODEL, prompt, 1)).toMatchObject({ choices: base.choices });
    const { data } = (await (await fetch(`${coordinator.url}/v1/models`)).json()) as { data: object[] };
    const listed = ['first', 'mixed', ...ADAPTERS].map((id) => ({ id, parent: MODEL }));
    expect(data).toMatchObject([{ id: MODEL }, { id: 'auto' }, ...listed]);
    expect(await (await fetch(`${coordinator.url}/v1/models/ffn`)).json()).toMatchObject({ id: 'ffn', root: MODEL });
    for (const adapter of ADAPTERS) expect((await unload(adapter)).status).toBe(200);
  });

  it('are replaced only if that is asked for, and gone after they are unloaded', async () => {
    expect((await load('one', 'ffn')).status).toBe(200);
    expect(await (await load('one', 'all')).json()).toMatchObject({ error: { code: 'adapter_exists' } });
    expect((await load('one', 'all', { load_inplace: true })).status).toBe(200);
    await expectPeftAnswer('one', 'all');
    expect((await unload('one')).status).toBe(200);
    expect((await unload('one')).status).toBe(404);
    await expect(complete(coordinator.url, 'one', prompt, 1)).rejects.toThrow(/404.*model_not_found/);
  });

  it('are loaded by operators alone, and only from the directory of --adapter-dir', async () => {
    expect((await operate('/v1/load_lora_adapter', { lora_name: 'one', lora_path: 'ffn' }, '')).status).toBe(401);
    expect((await operate('/v1/unload_lora_adapter', { lora_name: 'first' }, 'another')).status).toBe(401);
    const link = join(cacheDir, 'link');
    await symlink(root, link);
    const outside = ['..', '.', '/', join(adapterRoot, 'ffn'), 'nowhere', 'a\0b', 'reference.safetensors'];
    for (const path of outside) {
      const answer = await load('one', path);
      expect(answer.status).toBe(400);
      expect(((await answer.json()) as { error: { message: string } }).error.message).toMatch(/--adapter-dir/);
    }
    expect((await load('one', join(link, 'ffn'))).status).toBe(200);
    expect((await unload('one')).status).toBe(200);
    for (const [name, code] of [
      [MODEL, 'adapter_exists'],
      ['first', 'adapter_exists'],
      ['no name', 'invalid_value'],
    ] as const)
      expect(await (await load(name, 'ffn')).json()).toMatchObject({ error: { code, param: 'lora_name' } });
  });

  it('are chosen by the prompt for requests of the model "auto", by what is said of them at loading', async () => {
    const send = async (path: string, body: object) => {
      const response = await post(coordinator.url, path, { model: 'auto', max_tokens: 1, ...body });
      const { model } = (await response.json()) as { model: string };
      const [chosen, similarity] = ['model', 'similarity'].map((name) => response.headers.get(`x-shoal-${name}`));
      expect(chosen).toBe(model);
      return [model, Number(similarity)];
    };
    const text = 'Dear Grandma, how are you?';
    expect(await send('/v1/completions', { prompt: text })).toEqual([MODEL, 0]);
    expect((await load('letters', 'ffn', { examples: ['Yours,', text] })).status).toBe(200);
    expect((await load('ships', 'all', { description: 'Captain on deck!' })).status).toBe(200);
    const asked = { role: 'user', content: text };
    const said = { role: 'assistant', content: 'Captain on deck!' };
    for (const [path, body] of [
      ['/v1/completions', { prompt: text }],
      ['/v1/chat/completions', { messages: [{ role: 'system', content: 'Captain on deck!' }, asked, said] }],
      ['/v1/responses', { input: text, max_output_tokens: 16 }],
      ['/v1/messages', { messages: [asked] }],
    ] as const) {
      expect(await send(path, body)).toEqual(['letters', 1]);
    }
    expect(await send('/v1/completions', { prompt: ['Captain', ' on', ' deck!'] })).toEqual(['ships', 1]);
    const [base, similarity] = await send('/v1/completions', { prompt: '0123456789' });
    expect(base).toBe(MODEL);
    expect(similarity).toBeLessThan(defaultConfig({}).adapterThreshold);
    const { data } = (await (await fetch(`${coordinator.url}/v1/models`)).json()) as { data: object[] };
    expect(data).toMatchObject([
      { id: MODEL },
      { id: 'auto', root: MODEL },
      { id: 'first' },
      { id: 'mixed' },
      { id: 'letters' },
      {},
    ]);
    expect(data.at(-1)).toMatchObject({ id: 'ships', shoal: { description: 'Captain on deck!' } });
    expect(await (await load('auto', 'ffn')).json()).toMatchObject({ error: { code: 'adapter_exists' } });
    const tooMany = await load('more', 'ffn', { examples: Array(33).fill('x') });
    expect(await tooMany.json()).toMatchObject({ error: { param: 'examples' } });
    for (const name of ['letters', 'ships']) expect((await unload(name)).status).toBe(200);
  });

  it('come and go under running streams, whose answers neither fail nor change, and leave no memory taken', async () => {
    const { adapters, url } = coordinator;
    const before = adapters.bytes;
    const counts = await soak({ url, models: [MODEL, 'first', 'mixed'], streams: 4, loads: 6, prompt });
    expect(counts).toMatchObject({ failed: 0, changed: 0 });
    await expect.poll(() => adapters.bytes).toBe(before);
  });
});

describe('the default model’s adapters', () => {
  const styles = ['letters', 'pirates', 'rhymes'] as const;
  type Style = (typeof styles)[number];
  const held = JSON.parse(readFileSync(HELD_OUT, 'utf8')) as Record<
    Style,
    { ids: number[][] } & Record<'base' | 'adapter', number>
  >;
  let tiny: Coordinator;
  beforeAll(async () => {
    const adapters = new Map(styles.map((style) => [style, join(SHIPPED, style)]));
    tiny = await startTinyCoordinator({ adapters });
  });
  afterAll(() => tiny.close());

  /** The mean loss of texts. */
  async function lossOf(model: string, texts: readonly number[][]): Promise<number> {
    const body = { model, prompt: texts, max_tokens: 0, echo: true, logprobs: 0 };
    const { choices } = (await (await post(tiny.url, '/v1/completions', body)).json()) as Completion;
    const logprobs = choices.flatMap((choice) => choice.logprobs.token_logprobs.slice(1));
    return -logprobs.reduce((sum, one) => sum + one, 0) / logprobs.length;
  }

  it.each(styles)(
    '%s: held-out texts have the losses that PEFT finds, a fraction of the base model’s',
    async (style) => {
      const { ids, base, adapter } = held[style];
      expect(await lossOf('tiny-stories', ids)).toBeCloseTo(base, 1);
      expect(Math.abs((await lossOf(style, ids)) - adapter)).toBeLessThan(0.01);
      expect(adapter).toBeLessThan(base / 10);
    },
  );

  it('are chosen by prompts of their kind, and none by others', async () => {
    const model = async (prompt: string): Promise<string> => {
      const response = await post(tiny.url, '/v1/completions', { model: 'auto', prompt, max_tokens: 1 });
      return ((await response.json()) as Completion).model;
    };
    expect(await model('Dear Aunt Kate, how are you? I hope')).toBe('letters');
    expect(await model('The captain of the pirate ship looked for treasure')).toBe('pirates');
    expect(await model('A little frog sat in the sun and said, "Good day!"')).toBe('rhymes');
    expect(await model('Sam wanted to bake bread with his mother.')).toBe('tiny-stories');
  });
});

describe('mixtures of adapters', () => {
  const from = readTensors(join(mixtures, MODEL, 'reference.safetensors'));
  const ids = Array.from(from('ids'));

  it('answer as PEFT does, by name, and start from prompts that both of their passes know', async () => {
    const { scheduler } = coordinator;
    const reusedBy = async (name: string, mixture: string): Promise<number> => {
      const before = scheduler.prefix.reused;
      await expectPeftAnswer(name, mixture, { from, ids });
      return scheduler.prefix.reused - before;
    };
    for (const name of ['sparse', 'renormalised']) expect((await load(name, `xlora/${name}`)).status).toBe(200);
    await complete(coordinator.url, MODEL, ids, 1);
    for (const name of ['mixed', 'sparse', 'renormalised']) {
      const mixture = name === 'mixed' ? 'soft' : name;
      expect([await reusedBy(name, mixture), await reusedBy(name, mixture)]).toEqual([0, 16]);
    }
    for (const name of ['sparse', 'renormalised']) expect((await unload(name)).status).toBe(200);
  });
});

describe('adapters of routed experts', () => {
  const name = 'qwen3-moe';
  const root = join(adapterRoot, '..', name);
  const tensors = readTensors(join(root, 'reference.safetensors'));
  const ids = Array.from(tensors('ids'));
  const names = ['experts', 'down', 'attention'];
  const mixture = join(mixtures, name, 'experts');

  const firstOf = ({ events }: Answer): { id: number; logprob: number } => {
    const event = events.find(({ type }) => type === 'token');
    if (event?.type !== 'token') throw new Error('no token');
    return { id: event.token.tokenId, logprob: event.token.logprob! };
  };

  let core: Core;
  const donors: VirtualDonor[] = [];
  beforeAll(async () => {
    const adapters = new Map(names.map((one) => [one, join(root, one)])).set('mixture', mixture);
    const given = { model: fixtureDir(name), quant: 'f16' as const, cacheDir, replicas: 1, adapters };
    core = await createCore(defaultConfig(given));
    donors.push(...(await Promise.all([VirtualDonor.join(core), VirtualDonor.join(core)])));
    await until('all experts to be served', () => covered(core));
  });
  afterAll(async () => {
    await core.close();
    await Promise.all(donors.map((donor) => donor.close()));
  });

  const ask = (one: string | undefined, maxTokens = 6): Promise<Answer> =>
    answer(core, ids, { maxTokens, topLogprobs: 0, ignoreEos: true, adapter: core.adapters.find(one ?? '') });
  const heldBytes = (): number => donors.reduce((sum, donor) => sum + donor.stats().adapterBytes, 0);

  it('go to tabs at their first use, and are then computed there, in the same laps as everything else', async () => {
    const under = [undefined, ...names];
    const { figures } = core.dispatcher;
    const alone: Answer[] = [];
    for (const one of under) alone.push(await ask(one));
    for (const [i, one] of names.entries()) {
      const { id, logprob } = mostLikely(tensors(one), core.config.vocabSize);
      expect(firstOf(alone[i + 1]!).id).toBe(id);
      expect(firstOf(alone[i + 1]!).logprob).toBeCloseTo(logprob, 2);
    }
    // No answer has waited for a tab.
    expect(figures.fallbackAdapted).toBeGreaterThan(0);
    await until('tabs to hold what was asked for', () => core.swarm.peers.every(({ adapters }) => adapters!.isSettled));
    expect(heldBytes()).toBeGreaterThan(0);
    expect(core.swarm.adapters!.bytes).toBe(heldBytes());
    const before = { ...figures };
    const together = await Promise.all(under.map((one) => ask(one)));
    for (const [i, one] of together.entries()) expect(one.ids).toEqual(alone[i]!.ids);
    expect(figures.tabAdapted).toBeGreaterThan(before.tabAdapted);
    expect(figures.fallbackAssignments).toBe(before.fallbackAssignments);
    for (const [i, one] of names.entries()) {
      const { logprob } = mostLikely(tensors(one), core.config.vocabSize);
      expect(firstOf(together[i + 1]!).logprob).toBeCloseTo(logprob, 2);
    }
    expect(core.trust.counts).toMatchObject({ wrong: 0 });
  });

  it('are mixed in tabs by the scalings of each token', async () => {
    const from = readTensors(join(mixture, '../reference.safetensors'));
    const { figures } = core.dispatcher;
    const asked = { maxTokens: 6, topLogprobs: 0, ignoreEos: true, adapter: core.adapters.find('mixture') };
    const mixed = (): Promise<Answer> => answer(core, Array.from(from('ids')), asked);
    const first = await mixed();
    await until('tabs to hold what was asked for', () => core.swarm.peers.every(({ adapters }) => adapters!.isSettled));
    const before = { ...figures };
    const second = await mixed();
    expect(second.ids).toEqual(first.ids);
    expect(figures.tabAdapted).toBeGreaterThan(before.tabAdapted);
    expect(figures.fallbackAssignments).toBe(before.fallbackAssignments);
    const { id, logprob } = mostLikely(from('experts'), core.config.vocabSize);
    for (const each of [first, second]) {
      expect(firstOf(each).id).toBe(id);
      expect(firstOf(each).logprob).toBeCloseTo(logprob, 2);
    }
    expect(core.trust.counts).toMatchObject({ wrong: 0 });
  });

  it('leave tabs once they are unloaded and the last answer has ended', async () => {
    const alone = await ask('experts', 24);
    await until('tabs to hold what was asked for', () => core.swarm.peers.every(({ adapters }) => adapters!.isSettled));
    const before = heldBytes();
    const streams = ['experts', 'experts', 'down'].map((one) => ask(one, 24));
    core.adapters.unload('experts');
    expect(heldBytes()).toBe(before);
    expect((await Promise.all(streams))[0]!.ids).toEqual(alone.ids);
    await until('the tabs to drop it', () => heldBytes() < before);
    expect(core.swarm.adapters!.bytes).toBe(heldBytes());
    await core.adapters.load('experts', join(root, 'experts'));
    expect((await ask('experts', 24)).ids).toEqual(alone.ids);
  });

  it('are not computed by a tab that leaves out what they add', async () => {
    const given = { model: fixtureDir(name), quant: 'f16' as const, cacheDir, replicas: 2 };
    const other = await createCore(defaultConfig({ ...given, adapters: new Map([['down', join(root, 'down')]]) }));
    const tabs = [await VirtualDonor.join(other), await VirtualDonor.join(other, { wrapBackend: withoutAdapters })];
    try {
      await until('all experts to be served', () => covered(other));
      const adapter = other.adapters.find('down');
      const under = { maxTokens: 6, ignoreEos: true, adapter };
      const { ids: expected } = await answer(other, ids, under);
      await until('the liar to be found out', () => tabs[1]!.dismissed !== undefined);
      expect(tabs[1]!.dismissed).toMatchObject({
        code: 'self-test',
        message: expect.stringContaining('adapted experts wrongly') as string,
      });
      expect((await answer(other, ids, under)).ids).toEqual(expected);
      expect(tabs[0]!.dismissed).toBeUndefined();
    } finally {
      await other.close();
      await Promise.all(tabs.map((donor) => donor.close()));
    }
  });
});

/** Right about experts, and wrong about what adapters add to them. */
function withoutAdapters(backend: ExpertBackend): ExpertBackend {
  return new Proxy(backend, {
    get: (target, key) => {
      if (key === 'run') return (lap: WorkItem) => target.run({ ...lap, adapters: undefined });
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
