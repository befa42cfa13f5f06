import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { FairQueue } from './fair-queue.ts';

interface Job {
  client: string;
  prompt: number;
  answer: number;
  left: number;
}

function queueOf(maxQueue = 64, maxLead = 1e9): FairQueue<Job> {
  return new FairQueue<Job>({
    maxQueue,
    maxLead,
    clientOf: (job) => job.client,
    costOf: (job) => job.prompt + 2 * job.answer,
  });
}

const job = (client: string, prompt = 10, answer = 10): Job => ({ client, prompt, answer, left: answer });

/** A server whose `places` each generate one token per step. */
class Server {
  readonly queue: FairQueue<Job>;
  readonly places: number;
  readonly running: Job[] = [];
  readonly served = new Map<string, number>();

  constructor(queue: FairQueue<Job>, places: number) {
    this.queue = queue;
    this.places = places;
  }

  step(): Job[] {
    const taken: Job[] = [];
    while (this.running.length < this.places) {
      const next = this.queue.order().next();
      if (next.done) break;
      this.queue.take(next.value, next.value.prompt);
      this.#serve(next.value.client, next.value.prompt);
      this.running.push(next.value);
      taken.push(next.value);
    }
    for (const one of this.running) {
      one.left--;
      this.queue.charge(one.client, 2);
      this.#serve(one.client, 2);
    }
    for (const one of this.running.filter(({ left }) => left <= 0)) {
      this.running.splice(this.running.indexOf(one), 1);
      this.queue.end(one);
    }
    return taken;
  }

  #serve(client: string, cost: number): void {
    this.served.set(client, (this.served.get(client) ?? 0) + cost);
  }
}

describe('turns', () => {
  it('are in order of arrival within a client', () => {
    const queue = queueOf();
    const jobs = [1, 2, 3].map((prompt) => job('a', prompt));
    for (const each of jobs) queue.add(each);
    expect([...queue.order()]).toEqual(jobs);
    queue.drop((each) => each.prompt === 2);
    expect([...queue.order()].map(({ prompt }) => prompt)).toEqual([1, 3]);
    expect(queue.items).toEqual([...queue.order()]);
  });

  it('let a single request in next, whatever another client has waiting', () => {
    const queue = queueOf();
    const server = new Server(queue, 4);
    for (let i = 0; i < 60; i++) queue.add(job('many'));
    for (let i = 0; i < 15; i++) server.step();
    const single = job('one');
    queue.add(single);
    let taken: Job[] = [];
    while (taken.length === 0) taken = server.step();
    expect(taken[0]).toBe(single);
  });

  it('earn no credit by idleness: who comes late is even with who was there', () => {
    const queue = queueOf(1000);
    const server = new Server(queue, 4);
    for (let i = 0; i < 100; i++) queue.add(job('early'));
    for (let i = 0; i < 200; i++) server.step();
    for (let i = 0; i < 50; i++) queue.add(job('late'));
    const before = server.served.get('early')!;
    for (let i = 0; i < 60; i++) server.step();
    const ratio = server.served.get('late')! / (server.served.get('early')! - before);
    expect(ratio).toBeGreaterThan(0.8);
    expect(ratio).toBeLessThan(1.25);
  });

  it('count what was used while nobody else wanted it as one long request at most', () => {
    const queue = queueOf(1000, 200);
    const server = new Server(queue, 4);
    for (let i = 0; i < 4; i++) queue.add(job('a', 10, 500));
    for (let step = 0; step < 495; step++) server.step();
    const crowd = (): void => {
      while (queue.items.filter(({ client }) => client === 'b').length < 8) queue.add(job('b'));
    };
    crowd();
    // "a" has used 4000, and "b" nothing yet.
    const back = job('a');
    queue.add(back);
    let before = 0;
    while (!server.running.includes(back)) {
      crowd();
      before += server.step().filter(({ client }) => client === 'b').length;
    }
    // Each costs 10 to begin and 20 more to end.
    expect(before).toBeGreaterThanOrEqual(200 / 30);
    expect(before).toBeLessThanOrEqual(200 / 30 + 2 * server.places);
  });

  it('forget who used what when all are gone', () => {
    const queue = queueOf();
    const server = new Server(queue, 1);
    queue.add(job('a', 1000, 1));
    server.step();
    queue.add(job('b'));
    queue.add(job('a'));
    // Had "a" kept its 1000, "b" would be first in both.
    expect([...queue.order()].map(({ client }) => client)).toEqual(['b', 'a']);
    server.step();
    queue.drop(() => true);
    for (let i = 0; i < 20; i++) server.step();
    queue.add(job('a'));
    queue.add(job('b'));
    expect([...queue.order()].map(({ client }) => client)).toEqual(['a', 'b']);
  });

  it('keep clients that always have something waiting within the bound of the paper, for any sizes', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const rng = createRng(seed);
      const clients = ['a', 'b', 'c', 'd'].slice(0, 2 + Math.floor(rng() * 3));
      const mean = new Map(clients.map((client) => [client, 1 + Math.floor(rng() * 60)]));
      const queue = queueOf(1000);
      const server = new Server(queue, 1 + Math.floor(rng() * 8));
      let longest = 0;
      for (let step = 0; step < 400; step++) {
        for (const client of clients) {
          // 20 at a time from client "a", one from the others.
          while (queue.items.filter((waiting) => waiting.client === client).length < (client === 'a' ? 20 : 1)) {
            const size = (): number => 1 + Math.floor(rng() * 2 * mean.get(client)!);
            const made = job(client, size(), size());
            longest = Math.max(longest, made.prompt, made.answer);
            queue.add(made);
          }
        }
        server.step();
        const served = clients.map((client) => server.served.get(client) ?? 0);
        // Theorem 4.4: 2 × max(prompt cost of one request, cost of all tokens of a full batch).
        const bound = 2 * Math.max(longest, 2 * longest * server.places);
        expect(Math.max(...served) - Math.min(...served)).toBeLessThanOrEqual(bound);
      }
    }
  });
});

describe('places in the queue', () => {
  it('are never all one client’s, and there is always one for the next', () => {
    const queue = queueOf(64);
    let mine = 0;
    while (!queue.hasItsShare('greedy')) {
      queue.add(job('greedy'));
      mine++;
    }
    expect(mine).toBe(48);
    for (const client of ['b', 'c', 'd']) {
      expect(queue.hasItsShare(client)).toBe(false);
      queue.add(job(client));
    }
    expect(queue.length).toBe(51);
    expect(queue.isFull).toBe(false);
    queue.drop(({ client }) => client === 'greedy');
    expect(queue.hasItsShare('greedy')).toBe(false);
    expect(queue.length).toBe(3);
  });

  it('are few enough in a short queue that its one place can be had', () => {
    const queue = queueOf(1);
    expect(queue.hasItsShare('a')).toBe(false);
    queue.add(job('a'));
    expect(queue.isFull).toBe(true);
  });
});
