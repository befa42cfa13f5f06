import {
  createReferenceEngine,
  type ExpertDispatch,
  loadDenseWeights,
  type Model,
  parseModelConfig,
  type SequencePages,
  type TensorReader,
} from '@shoal/model';
import { smallWeights } from '@shoal/model/testing';
import { beforeEach, describe, expect, it } from 'vitest';
import { GenerationError, type GenerationEvent, type GenerationRequest } from './generation.ts';
import { Scheduler, type SchedulerLimits } from './scheduler.ts';
import { lapsOf, NO_DRAFTS, testLimits } from './testing/options.ts';
import { smallConfigJson } from './testing/small-config.ts';

// eos_token_id is never the largest logit of these weights, so that answers have the requested length.
const config = parseModelConfig({ ...smallConfigJson, hidden_size: 8 });
const reader: TensorReader = {
  read: async (spec) => {
    const values = await smallWeights.read(spec);
    return spec.name.includes('embed_tokens') ? values.fill(0, 16 * 8, 17 * 8) : values;
  },
};
const model: Model = { config, weights: await loadDenseWeights(config, reader) };

/** Routed experts under the test's control: they add a little of the row, so that laps matter. */
class Experts {
  /** [laps] rows of each. */
  readonly laps: number[] = [];
  beforeCombine: (lap: number) => Promise<void> | void = () => {};
  after: (sum: Float32Array, lap: number) => void = () => {};

  batch(): ExpertDispatch {
    return {
      dispatch: (call) => {
        const lap = this.laps.push(call.numRows) - 1;
        return {
          combine: async () => {
            await this.beforeCombine(lap);
            const sum = call.x.map((value, i) => value * call.topkWeights[Math.floor(i / config.hiddenSize) * 2]!);
            this.after(sum, lap);
            return sum;
          },
        };
      },
    };
  }
}

let experts: Experts;
let outcomes: string[];

beforeEach(() => {
  experts = new Experts();
  outcomes = [];
});

function newScheduler(limits: Partial<SchedulerLimits> = {}, eosTokenIds?: readonly number[]): Scheduler {
  const forward = createReferenceEngine(model);
  return new Scheduler({
    modelId: 'small',
    forward,
    experts,
    limits: testLimits(limits),
    eosTokenIds,
    lapsPerPass: lapsOf(forward),
    speculation: NO_DRAFTS,
    onRequest: (event, { request }) => {
      if (event !== 'submitted') outcomes.push(`${request.id} ${event}`);
    },
  });
}

function request(id: string, more: Partial<GenerationRequest> = {}): GenerationRequest {
  const { signal } = new AbortController();
  return { id, promptIds: [1, 2, 3], maxTokens: 6, temperature: 0, topP: 1, seed: 1, signal, ...more };
}

async function collect(stream: AsyncIterable<GenerationEvent>): Promise<GenerationEvent[]> {
  const events: GenerationEvent[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

async function idsOf(stream: AsyncIterable<GenerationEvent>): Promise<number[]> {
  return (await collect(stream)).flatMap((event) => (event.type === 'token' ? [event.token.tokenId] : []));
}

const reasonOf = (stream: AsyncIterable<GenerationEvent>): Promise<string> =>
  collect(stream).then(
    () => 'finished',
    (error: unknown) => (error instanceof GenerationError ? error.reason : String(error)),
  );

/** A promise and the call that settles it. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

describe('the end of an answer', () => {
  it('is at any of the given tokens, in place of config.json’s', async () => {
    const ids = await idsOf(newScheduler().submit(request('whole')));
    const at = ids.findIndex((id, i) => i > 0 && ids.indexOf(id) === i);
    expect(at).toBeGreaterThan(0);
    const events = await collect(newScheduler({}, [16, ids[at]!]).submit(request('ended')));
    expect(events.flatMap((event) => (event.type === 'token' ? [event.token.tokenId] : []))).toEqual(ids.slice(0, at));
    expect(events.at(-1)).toMatchObject({ type: 'finish', reason: 'stop' });
  });
});

describe('a batch', () => {
  it('gives each sequence the tokens that it would have alone, whatever its seed, prompt and length', async () => {
    const requests = [
      request('a', { temperature: 0.9, seed: 7, maxTokens: 9 }),
      request('b', { promptIds: Array.from({ length: 20 }, (_, i) => i % 16), temperature: 0.7, topP: 0.8, seed: 8 }),
      request('c', { maxTokens: 3 }),
      request('d', { promptIds: [5], temperature: 1.2, seed: 9, maxTokens: 12 }),
    ];
    const alone: number[][] = [];
    for (const each of requests) alone.push(await idsOf(newScheduler().submit(each)));
    expect(alone.map((ids) => ids.length)).toEqual([9, 6, 3, 12]);
    const together = newScheduler({ maxBatch: 3, prefillRows: 5 });
    expect(await Promise.all(requests.map((each) => idsOf(together.submit(each))))).toEqual(alone);
    expect(together.tokens).toBe(30);
    await together.drain(60_000);
    expect(together.running).toHaveLength(0);
    expect(together.kvBytesInUse).toBe(0);
  });

  it('takes a long prompt in bounded pieces, and goes on decoding meanwhile', async () => {
    const both = newScheduler({ prefillRows: 8 });
    const short = idsOf(both.submit(request('short', { maxTokens: 8 })));
    const long = idsOf(both.submit(request('long', { promptIds: Array.from({ length: 30 }, (_, i) => i % 16) })));
    await Promise.all([short, long]);
    // 3 + 5 prompt rows; then one decoding row beside 8, 8, 8 and the last one of the prompt.
    expect(experts.laps.slice(0, 5)).toEqual([8, 9, 9, 9, 2]);
  });

  it('ends at the context with "length", and at maxTokens 0 without a token', async () => {
    const events = await collect(newScheduler().submit(request('full', { maxTokens: 1000 })));
    expect(events).toHaveLength(37 + 1);
    expect(events.at(-1)).toEqual({ type: 'finish', reason: 'length' });
    expect(await collect(newScheduler().submit(request('none', { maxTokens: 0 })))).toEqual([
      { type: 'finish', reason: 'length' },
    ]);
  });

  it("scores a prompt alike in one piece and in several, as the answer's own logprobs are", async () => {
    const greedy = await collect(newScheduler().submit(request('answer', { topLogprobs: 2 })));
    const tokens = greedy.flatMap((event) => (event.type === 'token' ? [event.token] : []));
    const promptIds = [1, 2, 3, ...tokens.map(({ tokenId }) => tokenId)];
    const scored: GenerationEvent[] = [];
    for (const prefillRows of [64, 2]) {
      const events = await collect(
        newScheduler({ prefillRows }).submit(
          request('score', { promptIds, maxTokens: 0, promptLogprobs: true, topLogprobs: 2 }),
        ),
      );
      expect(events.map(({ type }) => type)).toEqual(['prompt-logprobs', 'finish']);
      scored.push(events[0]!);
    }
    expect(scored[1]).toEqual(scored[0]);
    const prompt = scored[0]!.type === 'prompt-logprobs' ? scored[0]!.tokens : [];
    expect(prompt[0]).toEqual({ tokenId: 1 });
    expect(prompt.slice(3)).toEqual(
      tokens.map(({ tokenId, logprob, topLogprobs }) => ({ tokenId, logprob, topLogprobs })),
    );
  });

  it('ends a sequence whose logits are damaged, and no other', async () => {
    const alone = await idsOf(newScheduler().submit(request('good')));
    const both = newScheduler();
    experts.after = (sum, lap) => {
      // The second sequence's row, once both decode.
      if (lap > experts.laps.length - 1 || sum.length !== 2 * config.hiddenSize) return;
      sum.fill(Number.NaN, config.hiddenSize);
    };
    const good = idsOf(both.submit(request('good')));
    const bad = reasonOf(both.submit(request('bad', { promptIds: [4, 4, 4] })));
    expect(await good).toEqual(alone);
    expect(await bad).toBe('internal');
    expect(outcomes.slice(1)).toEqual(['bad failed', 'good finished']);
  });

  it('whose laps fail ends with an error, and the next request is answered', async () => {
    const shoal = newScheduler();
    experts.beforeCombine = () => Promise.reject(new Error('no shard'));
    await expect(collect(shoal.submit(request('unlucky')))).rejects.toMatchObject({
      reason: 'internal',
      message: expect.stringContaining('no shard'),
    });
    experts.beforeCombine = () => {};
    expect(await idsOf(shoal.submit(request('next')))).toHaveLength(6);
  });
});

describe('a request', () => {
  it('is refused when nothing of it can be answered', () => {
    const shoal = newScheduler();
    expect(() => shoal.submit(request('empty', { promptIds: [] }))).toThrow(/no tokens/);
    const promptIds = Array.from({ length: 40 }, () => 1);
    expect(() => shoal.submit(request('long', { promptIds }))).toThrow(/context of 40/);
    expect(() => shoal.submit(request('fits', { promptIds, maxTokens: 0 }))).not.toThrow();
  });

  it('waits while the batch is full, and is told when to come back when the queue is', async () => {
    const shoal = newScheduler({ maxBatch: 2, maxQueue: 1 });
    const accepted = ['a', 'b', 'c'].map((id) => idsOf(shoal.submit(request(id))));
    expect([shoal.running.length, shoal.queued.length]).toEqual([2, 1]);
    expect(() => shoal.submit(request('d'))).toThrow(
      expect.objectContaining({ reason: 'queue-full', retryAfterS: expect.any(Number) }),
    );
    await Promise.all(accepted);
    expect(await idsOf(shoal.submit(request('d')))).toHaveLength(6);
  });

  it('needs no queue where the batch has a place', async () => {
    const shoal = newScheduler({ maxBatch: 2, maxQueue: 0 });
    const accepted = ['a', 'b'].map((id) => idsOf(shoal.submit(request(id))));
    expect(() => shoal.submit(request('c'))).toThrow(expect.objectContaining({ reason: 'queue-full' }));
    expect((await Promise.all(accepted)).map((ids) => ids.length)).toEqual([6, 6]);
  });

  it('that was given up leaves its place to the next at once', async () => {
    const shoal = newScheduler({ maxBatch: 1, maxQueue: 1 });
    const lap = gate();
    experts.beforeCombine = () => lap.opened;
    const running = idsOf(shoal.submit(request('running')));
    const controller = new AbortController();
    const given = reasonOf(shoal.submit(request('given up', { signal: controller.signal })));
    controller.abort();
    const next = idsOf(shoal.submit(request('next')));
    lap.open();
    expect(await given).toBe('cancelled');
    expect((await Promise.all([running, next])).map((ids) => ids.length)).toEqual([6, 6]);
    expect(outcomes).toEqual(['given up cancelled', 'running finished', 'next finished']);
  });

  it('aborted before it came is cancelled, and holds up nobody', async () => {
    const shoal = newScheduler();
    const late = reasonOf(shoal.submit(request('late', { signal: AbortSignal.abort() })));
    const next = idsOf(shoal.submit(request('next')));
    expect(await late).toBe('cancelled');
    expect(await next).toHaveLength(6);
    expect(outcomes).toEqual(['late cancelled', 'next finished']);
  });

  it('is stopped by an operator, with an error that says so, and nothing else is touched', async () => {
    const shoal = newScheduler();
    const stopped = reasonOf(shoal.submit(request('stopped', { maxTokens: 30 })));
    const next = idsOf(shoal.submit(request('next')));
    expect(shoal.stop('stopped', 'Cancelled by otto.')).toBe(true);
    expect(await stopped).toBe('stopped');
    expect(await next).toHaveLength(6);
    expect(outcomes).toEqual(['stopped cancelled', 'next finished']);
    expect(shoal.stop('stopped', 'Cancelled by otto.')).toBe(false);
  });

  it('whose reader stops reading is cancelled', async () => {
    const shoal = newScheduler();
    for await (const event of shoal.submit(request('left', { maxTokens: 30 }))) if (event.type === 'token') break;
    await shoal.drain(10_000);
    expect(outcomes).toEqual(['left cancelled']);
    expect(shoal.tokens).toBeLessThan(30);
  });

  it('that takes too long ends with "timeout", after what it has had', async () => {
    const shoal = newScheduler({ requestTimeoutMs: 50 });
    const hung = gate();
    experts.beforeCombine = (lap) => (lap < 2 ? undefined : hung.opened);
    const events: GenerationEvent[] = [];
    const reading = (async () => {
      for await (const event of shoal.submit(request('slow'))) events.push(event);
    })();
    await expect(reading).rejects.toMatchObject({ reason: 'timeout' });
    expect(events).toHaveLength(2);
    hung.open();
  });
});

describe('draining', () => {
  it('lets accepted requests end, the waiting ones too, and takes no more', async () => {
    const shoal = newScheduler({ maxBatch: 1 });
    const accepted = ['a', 'b'].map((id) => idsOf(shoal.submit(request(id))));
    const drained = shoal.drain(60_000);
    expect(() => shoal.submit(request('c'))).toThrow(expect.objectContaining({ reason: 'draining' }));
    await drained;
    expect((await Promise.all(accepted)).map((ids) => ids.length)).toEqual([6, 6]);
  });

  it('ends in time with an error for each, even while a lap hangs', async () => {
    const shoal = newScheduler({ maxBatch: 1 });
    const hung = gate();
    experts.beforeCombine = () => hung.opened;
    const ends = ['running', 'waiting'].map((id) => reasonOf(shoal.submit(request(id))));
    await shoal.drain(20);
    expect(await Promise.all(ends)).toEqual(['draining', 'draining']);
    hung.open();
  });

  it('of an idle scheduler is over at once', async () => {
    await newScheduler().drain(60_000);
  });
});

describe('on a paged KV cache', () => {
  /** Pages of 4 positions; a row's logits depend on its token alone, so only the counting of pages is under test. */
  function paged(limits: Partial<SchedulerLimits> = {}, numPages = 8) {
    const forward = createReferenceEngine(model);
    const rows: number[] = [];
    const sequenceOn = (pages: SequencePages) => ({
      get length() {
        return pages.length;
      },
      allocatedBytes: 0,
      append: (count: number) => pages.append(count),
      truncate: (length: number) => pages.truncate(length),
      keep: (length: number, slots: readonly number[]) => pages.truncate(length + slots.length),
      free: () => pages.close(),
    });
    const shoal = new Scheduler({
      modelId: 'small',
      forward: {
        ...forward,
        lendPages: () => ({ numPages, pagePositions: 4, bytesPerPage: 100 }),
        sequenceOn,
        forward: async (batch, dispatch) => {
          rows.push(batch.length);
          for (const { cache } of batch) (cache as ReturnType<typeof sequenceOn>).append(1);
          const { tokenId, query } = batch.at(-1)!;
          const row = { tokenId, position: 0, cache: forward.newSequence(), query };
          const { answers, ...rest } = await forward.forward([row], dispatch);
          return { ...rest, answers: batch.map(() => answers[0]) };
        },
      },
      experts,
      limits: testLimits(limits),
      lapsPerPass: lapsOf(forward),
      speculation: NO_DRAFTS,
    });
    return { shoal, rows };
  }

  const long = Array.from({ length: 13 }, (_, i) => i);

  it('does not compute a beginning again that it still has', async () => {
    const { shoal, rows } = paged();
    await collect(shoal.submit(request('first', { promptIds: long, maxTokens: 1 })));
    await collect(shoal.submit(request('second', { promptIds: [...long, 14], maxTokens: 1 })));
    expect(rows).toEqual([13, 2]);
    expect(shoal.prefix).toEqual({ positions: 27, reused: 12 });
    await expect.poll(() => shoal.kvBytesInUse).toBe(0);
    expect(shoal.kvBytesKept).toBeGreaterThan(0);
    shoal.forgetPrefixes();
    await collect(shoal.submit(request('third', { promptIds: long, maxTokens: 1 })));
    await collect(shoal.submit(request('other', { promptIds: long, maxTokens: 1, cacheScope: 'key b' })));
    await collect(shoal.submit(request('limited', { promptIds: long, maxTokens: 1, deviceLimit: 2 })));
    await collect(shoal.submit(request('scored', { promptIds: long, maxTokens: 1, promptLogprobs: true })));
    expect(rows.slice(2)).toEqual([13, 13, 13, 13]);
  });

  it('lets who has no room wait, refuses who never has, and goes on when room comes', async () => {
    const { shoal } = paged({ maxQueue: 1 });
    const lap = gate();
    experts.beforeCombine = () => lap.opened;
    const big = { promptIds: long, maxTokens: 11 };
    const accepted = ['a', 'b'].map((id) => collect(shoal.submit(request(id, big))));
    expect([shoal.running.length, shoal.queued.length]).toEqual([1, 1]);
    expect(() => shoal.submit(request('c', big))).toThrow(expect.objectContaining({ reason: 'queue-full' }));
    expect(() => shoal.submit(request('d', { promptIds: long, maxTokens: 27 }))).toThrow(/holds only 32/);
    lap.open();
    await Promise.all(accepted);
    await expect.poll(() => shoal.kvBytesInUse).toBe(0);
  });
});
