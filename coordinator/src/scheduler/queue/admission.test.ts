import type { ForwardEngine, SequencePages } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import type { ServedAdapter } from '../../adapters/served-adapter.ts';
import { Admission } from './admission.ts';
import { GenerationError } from '../generation.ts';
import { Sequence } from '../sequence.ts';

/** Pages of one position each: only the counting is under test. */
function admission({
  numPages,
  maxBatch = 64,
  maxQueue = 64,
}: {
  numPages: number;
  maxBatch?: number;
  maxQueue?: number;
}) {
  const forward = {
    lendPages: () => ({ numPages, pagePositions: 1, bytesPerPage: 1 }),
    sequenceOn: (pages: SequencePages) => ({
      get length() {
        return pages.length;
      },
      allocatedBytes: 0,
      truncate: (length: number) => pages.truncate(length),
      free: () => pages.close(),
    }),
  } as unknown as ForwardEngine;
  return new Admission({ forward, maxContext: 1_000_000, maxBatch, maxQueue });
}

/** A request that may use up to `positions`. */
function request(id: string, positions: number, client = 'one'): Sequence {
  const { signal } = new AbortController();
  const options = { temperature: 0, topP: 1, seed: 1, signal };
  // Prompts that begin differently, so that none shares pages.
  return new Sequence({ id, client, promptIds: [Number(id)], maxTokens: positions - 1, ...options }, 0);
}

/** A request under a mixture of adapters, whose first pass has the model's own keys and values unless it adds something. */
function mixedRequest(id: string, promptIds: readonly number[], positions: number, firstPassValue = 0): Sequence {
  const { signal } = new AbortController();
  const adapter = { id: 1, name: 'mixture', mixture: { rules: { firstPassValue } } } as unknown as ServedAdapter;
  const maxTokens = positions - promptIds.length;
  return new Sequence({ id, promptIds, maxTokens, adapter, temperature: 0, topP: 1, seed: 1, signal }, 0);
}

function submit(queue: Admission, sequence: Sequence): void {
  queue.add(sequence);
  queue.update();
}

function end(sequence: Sequence): void {
  sequence.fail(new GenerationError('cancelled', 'over'));
}

const idsOf = (sequences: readonly Sequence[]): number[] => sequences.map(({ request: { id } }) => Number(id));

describe('room in the KV cache', () => {
  it('lets small requests pass a large one that has none yet, until they have had as much as it needs', () => {
    const queue = admission({ numPages: 100 });
    submit(queue, request('1', 60));
    const large = request('2', 90);
    submit(queue, large);
    for (let id = 3; id <= 8; id++) submit(queue, request(String(id), 20));
    // 60 + 20 + 20 positions are taken; the others find no room either.
    expect(idsOf(queue.running)).toEqual([1, 3, 4]);
    for (let i = 0; i < 3; i++) {
      end(queue.running[1]!);
      queue.update();
    }
    // 3, 4, 5, 6 and 7 went before it, 100 positions: now all wait, though 8 would fit.
    expect(idsOf(queue.running)).toEqual([1, 6, 7]);
    end(queue.running[1]!);
    end(queue.running[2]!);
    queue.update();
    expect(idsOf(queue.running)).toEqual([1]);
    end(queue.running[0]!);
    queue.update();
    expect(idsOf(queue.running)).toEqual([2]);
    end(large);
    queue.update();
    expect(idsOf(queue.running)).toEqual([8]);
  });

  it('keeps no large request out for ever, however many small ones keep coming from others', () => {
    const queue = admission({ numPages: 100 });
    for (let id = 1; id <= 5; id++) submit(queue, request(String(id), 20));
    const large = request('6', 100);
    submit(queue, large);
    let nextId = 7;
    let turns = 0;
    while (!queue.running.includes(large)) {
      expect(turns++).toBeLessThan(30);
      // One of the small ones ends, and two more arrive, each from a new client.
      if (queue.running.length > 0) end(queue.running[0]!);
      for (let i = 0; i < 2 && queue.waiting.length < 60; i++) {
        submit(queue, request(String(nextId), 20, `client ${nextId}`));
        nextId++;
      }
      queue.update();
    }
    expect(turns).toBeGreaterThan(5);
  });

  it('is given back by whoever ends, so that the pages all come free', () => {
    const queue = admission({ numPages: 50, maxBatch: 4 });
    for (let id = 1; id <= 30; id++) submit(queue, request(String(id), 1 + ((id * 7) % 40), `client ${id % 3}`));
    let ended = 0;
    while (queue.running.length > 0) {
      expect(queue.running.length).toBeLessThanOrEqual(4);
      end(queue.running[0]!);
      ended++;
      queue.update();
    }
    expect(ended).toBe(30);
    expect(queue.kvBytesInUse).toBe(0);
  });
});

describe('the queue', () => {
  it('says whose places are all taken', () => {
    const queue = admission({ numPages: 1000, maxBatch: 1, maxQueue: 8 });
    expect(queue.refusal('greedy')).toBeUndefined();
    let id = 1;
    while (queue.refusal('greedy') === undefined) submit(queue, request(String(id++), 1, 'greedy'));
    expect(queue.refusal('greedy')).toBe('share-full');
    expect(queue.waiting).toHaveLength(6);
    for (const client of ['b', 'c']) {
      expect(queue.refusal(client)).toBeUndefined();
      submit(queue, request(String(id++), 1, client));
    }
    expect(queue.refusal('d')).toBe('queue-full');
    const turns = Array.from({ length: 4 }, () => {
      end(queue.running[0]!);
      queue.update();
      return queue.running[0]!.request.client;
    });
    // They start level with the greedy one, whose first request was queued before theirs.
    expect(turns).toEqual(['greedy', 'b', 'c', 'greedy']);
  });
});

describe('mixtures of adapters', () => {
  it('take room for two caches, and give both back', () => {
    const queue = admission({ numPages: 100 });
    expect([queue.mostPositions(), queue.mostPositions(mixedRequest('1', [1], 2).request.adapter)]).toEqual([100, 50]);
    expect(() => queue.refuseBeyondKv(mixedRequest('1', [1], 51).request)).toThrow(/holds only 50 twice, as a mixture/);
    const first = mixedRequest('1', [1], 50);
    submit(queue, first);
    expect([first.cache!.length, first.firstPass!.cache.length, queue.kvBytesInUse]).toEqual([0, 0, 0]);
    submit(queue, request('2', 1));
    expect(idsOf(queue.running)).toEqual([1]);
    end(first);
    queue.update();
    expect(idsOf(queue.running)).toEqual([2]);
  });

  it.each([
    ['the model’s own', 0, 3],
    ['no other', 0.5, 0],
  ])('start from prefixes of their own, and in the first pass %s', (_, firstPassValue, known) => {
    const queue = admission({ numPages: 100 });
    const ids = [7, 8, 9, 10];
    const compute = ({ pages }: Pick<Sequence, 'pages'>): void => {
      pages!.append(ids.length - pages!.length);
      pages!.commit(ids);
    };
    const plain = new Sequence({ ...mixedRequest('1', ids, 8).request, adapter: undefined }, 0);
    submit(queue, plain);
    compute(plain);
    const reusedBy = (sequence: Sequence): number => {
      const before = queue.prefix.reused;
      submit(queue, sequence);
      return queue.prefix.reused - before;
    };
    // Its second pass has nothing to start from.
    const mixed = mixedRequest('2', ids, 8, firstPassValue);
    expect(reusedBy(mixed)).toBe(0);
    compute(mixed);
    expect(reusedBy(mixedRequest('3', ids, 8, firstPassValue))).toBe(known);
  });
});

describe('credit', () => {
  /** Turns of four clients that always wait, of whom the first has credit, until so many answers were given. */
  function turns(left: number, answers: number): { turns: number[]; longestWait: number } {
    const queue = admission({ numPages: 10_000, maxBatch: 1 });
    const credit = {
      left,
      spend(tokens: number) {
        this.left = Math.max(0, this.left - tokens);
      },
    };
    let next = 1;
    const submitOf = (client: number): void => {
      const sequence = request(String(next++), 21, `client ${client}`);
      if (client === 0) sequence.request.credit = credit;
      submit(queue, sequence);
    };
    for (let client = 0; client < 4; client++) for (let i = 0; i < 2; i++) submitOf(client);
    const had = [0, 0, 0, 0];
    const lastTurn = [0, 0, 0, 0];
    let longestWait = 0;
    for (let turn = 1; turn <= answers; turn++) {
      const [running] = queue.running;
      const client = Number(running!.request.client!.split(' ')[1]);
      had[client]!++;
      longestWait = Math.max(longestWait, turn - lastTurn[client]!);
      lastTurn[client] = turn;
      queue.charge(running!, 20);
      end(running!);
      submitOf(client);
      queue.update();
    }
    return { turns: had, longestWait };
  }

  it('gives its client four turns for one of the others, who wait a bounded time', () => {
    const { turns: had, longestWait } = turns(1_000_000, 700);
    expect(had[0]).toBeGreaterThanOrEqual(395);
    expect(had[0]).toBeLessThanOrEqual(405);
    for (const others of had.slice(1)) expect(others).toBeGreaterThanOrEqual(98);
    // Without credit it is four: 4 + 3 turns, and a round of it at most before that.
    expect(longestWait).toBeLessThanOrEqual(8);
    expect(turns(0, 700).longestWait).toBeLessThanOrEqual(5);
  });

  it('is used up, and then its client is one of them', () => {
    // For 50 answers.
    const { turns: had } = turns(1_000, 700);
    expect(had[0]! - had[1]!).toBeGreaterThan(20);
    expect(had[0]! - had[1]!).toBeLessThanOrEqual(50);
  });
});
