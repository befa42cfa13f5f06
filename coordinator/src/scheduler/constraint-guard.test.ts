import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ConstraintGuard } from './constraint-guard.ts';
import { GenerationError, type GenerationEvent, type GenerationRequest } from './generation.ts';
import { EOS } from './testing/hash-engine.ts';
import { open, request, type Setting } from './testing/hash-scheduler.ts';
import { RuleConstraint } from './testing/rule-constraint.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

/** Any tokens but the end of the text. */
const endless = (): RuleConstraint => new RuleConstraint((_, tokenId) => tokenId !== EOS);

type Ending = (
  constraint: RuleConstraint,
  abort: AbortController,
) => { setting?: Setting; more?: Partial<GenerationRequest>; stopsReadingAfter?: number };

/** Replaces one of a constraint's calls, from the third of them on. */
function failing<Name extends 'masks' | 'allowedDrafts' | 'accept'>(
  constraint: RuleConstraint,
  name: Name,
  fail: RuleConstraint[Name],
): void {
  const original = constraint[name].bind(constraint) as (...args: unknown[]) => unknown;
  let calls = 0;
  const call = (...args: unknown[]): unknown => (calls++ < 2 ? original(...args) : (fail as typeof original)(...args));
  constraint[name] = call as RuleConstraint[Name];
}

const endings: [string, string, Ending][] = [
  ['its length', 'length', () => ({})],
  ['a stop token', 'stop', () => ({ more: { stopTokenIds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], minTokens: 4 } })],
  [
    'its signal',
    'cancelled',
    (_, abort) => {
      let laps = 0;
      return { setting: { lap: () => void (++laps === 3 && abort.abort()) } };
    },
  ],
  ['a signal that came before', 'cancelled', (_, abort) => (abort.abort(), {})],
  ['its reader', 'unread', () => ({ stopsReadingAfter: 2 })],
  [
    'a lap that fails',
    'internal',
    () => {
      let laps = 0;
      return {
        setting: { lap: () => (++laps === 3 ? Promise.reject(new Error('no shard')) : undefined), mode: 'off' },
      };
    },
  ],
  [
    'the time limit',
    'timeout',
    () => ({
      setting: { limits: { requestTimeoutMs: 5 }, lap: () => new Promise((resolve) => setTimeout(resolve, 3)) },
    }),
  ],
  [
    'masks that are rejected',
    'internal',
    (constraint) => {
      failing(constraint, 'masks', () => Promise.reject(new Error('no automaton')));
      return {};
    },
  ],
  [
    'masks that throw',
    'internal',
    (constraint) => {
      failing(constraint, 'masks', () => {
        throw new Error('no automaton');
      });
      return {};
    },
  ],
  [
    'a mask that allows nothing',
    'nothing-allowed',
    (constraint) => {
      failing(constraint, 'masks', async (drafts) => [new Uint32Array(1), ...drafts.map(() => undefined)]);
      return {};
    },
  ],
  [
    'a mask that is too short',
    'internal',
    (constraint) => {
      failing(constraint, 'masks', async (drafts) => [new Uint32Array(0), ...drafts.map(() => undefined)]);
      return {};
    },
  ],
  [
    'too few masks',
    'internal',
    (constraint) => {
      failing(constraint, 'masks', async () => []);
      return {};
    },
  ],
  [
    'drafts that cannot be checked',
    'internal',
    (constraint) => {
      failing(constraint, 'allowedDrafts', () => Promise.reject(new Error('no automaton')));
      return {};
    },
  ],
  [
    'a token that is not accepted',
    'internal',
    (constraint) => {
      failing(constraint, 'accept', () => {
        throw new Error('no such state');
      });
      return {};
    },
  ],
];

/** How a stream ends, or that its reader stopped after some events. */
async function endOf(stream: AsyncIterable<GenerationEvent>, stopsAfter = Number.POSITIVE_INFINITY): Promise<string> {
  let count = 0;
  try {
    for await (const event of stream) {
      if (event.type === 'finish') return event.reason;
      if (++count >= stopsAfter) return 'unread';
    }
    return 'open';
  } catch (error) {
    return (error as GenerationError).reason;
  }
}

describe('a constraint is closed once, and then asked nothing, when its answer ends by', () => {
  it.each(endings)('%s', async (name, expected, ending) => {
    const constraint = endless();
    const abort = new AbortController();
    const { setting, more, stopsReadingAfter } = ending(constraint, abort);
    const { scheduler } = open({ rightInTen: 9, ...setting });
    const asked = request('one', { maxTokens: 20, ...more, constraint, signal: abort.signal });
    const beside = endOf(scheduler.submit(request('beside', { promptIds: [4, 5], maxTokens: 30 })));
    expect(await endOf(scheduler.submit(asked), stopsReadingAfter)).toBe(expected);
    // Only a lap and the time limit concern others.
    if (!['a lap that fails', 'the time limit'].includes(name)) expect(await beside).toBe('length');
    await beside;
    await scheduler.drain(1000);
    expect([constraint.closed, constraint.misuses]).toEqual([1, []]);
  });

  it('a refusal', async () => {
    const { scheduler } = open({ limits: { maxBatch: 1, maxQueue: 1 } });
    const running = [0, 1].map((i) => endOf(scheduler.submit(request(`${i}`, { maxTokens: 50 }))));
    for (const more of [{}, { promptIds: [] }, { promptIds: Array.from({ length: 99 }, () => 1) }]) {
      const constraint = endless();
      expect(() => scheduler.submit(request('refused', { ...more, constraint }))).toThrow(GenerationError);
      expect([constraint.closed, constraint.misuses]).toEqual([1, []]);
    }
    await Promise.all(running);
    await scheduler.drain(1000);
    const constraint = endless();
    expect(() => scheduler.submit(request('late', { constraint }))).toThrow(GenerationError);
    expect(constraint.closed).toBe(1);
  });

  it('a drain', async () => {
    const { scheduler } = open({ lap: () => new Promise((resolve) => setTimeout(resolve, 2)) });
    const constraint = endless();
    const end = endOf(scheduler.submit(request('one', { maxTokens: 50, constraint })));
    await scheduler.drain(5);
    expect(await end).toBe('draining');
    expect([constraint.closed, constraint.misuses]).toEqual([1, []]);
  });
});

describe('what is asked of a constraint', () => {
  const never = (): Promise<never> => new Promise(() => {});
  const guarded = (over: Partial<RuleConstraint>, deadlineMs?: number): ConstraintGuard =>
    new ConstraintGuard(Object.assign(endless(), over), {
      vocabSize: 11,
      bannedEnds: () => new Set(),
      ...(deadlineMs && { deadlineMs }),
    });

  it('is answered by a deadline', async () => {
    const guard = guarded({ masks: never, allowedDrafts: never }, 2);
    for (const question of [guard.masks([1])[1], guard.allowedDrafts([1])])
      await expect(question).rejects.toThrow('failed: it has not answered for 0.002 s');
  });

  it('is given up when the answer ends', async () => {
    const guard = guarded({ masks: never });
    const [mask] = guard.masks([]);
    guard.close();
    await expect(mask).rejects.toThrow('The answer has ended.');
    await expect(guard.allowedDrafts([1])).rejects.toThrow('The answer has ended.');
  });

  it('leaves no rejection without a listener', async () => {
    const seen: unknown[] = [];
    const listener = (error: unknown): void => void seen.push(error);
    process.on('unhandledRejection', listener);
    try {
      guarded({ masks: () => Promise.reject(new Error('no automaton')) }).masks([1, 2]);
      await new Promise((resolve) => setTimeout(resolve, 5));
    } finally {
      process.off('unhandledRejection', listener);
    }
    expect(seen).toEqual([]);
  });
});
