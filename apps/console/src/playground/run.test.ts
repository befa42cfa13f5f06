import { beforeAll, describe, expect, it, vi } from 'vitest';
import type { Run } from './run.ts';

type Take = typeof import('./run.ts').takeEvents;
let takeEvents: Take;
beforeAll(async () => {
  // The page's key lives in a store that Node lacks.
  vi.stubGlobal('sessionStorage', { getItem: () => null });
  ({ takeEvents } = await import('./run.ts'));
});

const before: Run<unknown> = {
  state: 'running',
  body: {},
  text: '',
  reasoning: '',
  reasoningTokens: 0,
  calls: [],
  tokens: [],
  finishReason: null,
  usage: null,
  fault: null,
  ignored: null,
  chosen: null,
  startedMs: 0,
  firstMs: null,
  lastMs: null,
};

const token = { id: 1, text: 'x', laps: [] };
const delta = (change: object, tokens = [token]): string =>
  JSON.stringify({ choices: [{ index: 0, delta: change, shoal: { tokens } }] });

function take(reads: string[][]): Run<unknown> {
  let run = before;
  for (const [at, events] of reads.entries()) run = { ...run, ...takeEvents(events, run, at + 1) };
  return run;
}

describe('events of an answer', () => {
  it('add up, however they fall into network reads', () => {
    const events = [
      delta({ role: 'assistant', content: '' }, []),
      delta({ reasoning_content: 'Hm' }),
      delta({ reasoning_content: ', so' }, [token, token]),
      delta({ content: 'Yes' }),
      delta({ tool_calls: [{ index: 0, id: 'a', function: { name: 'f', arguments: '' } }] }),
      delta({
        tool_calls: [
          { index: 0, function: { arguments: '{"x"' } },
          { index: 1, id: 'b', function: { name: 'g', arguments: '{}' } },
        ],
      }),
      delta({ tool_calls: [{ index: 0, function: { arguments: ':1}' } }] }),
      JSON.stringify({ choices: [{ delta: {}, finish_reason: 'tool_calls' }] }),
      '[DONE]',
    ];
    for (const reads of [[events], events.map((one) => [one]), [events.slice(0, 4), events.slice(4)]]) {
      expect(take(reads)).toMatchObject({
        state: 'finished',
        text: 'Yes',
        reasoning: 'Hm, so',
        reasoningTokens: 3,
        finishReason: 'tool_calls',
        calls: [
          { index: 0, id: 'a', name: 'f', arguments: '{"x":1}' },
          { index: 1, id: 'b', name: 'g', arguments: '{}' },
        ],
      });
    }
  });

  it('time the first and the last token, not the opening of the message', () => {
    const run = take([
      [delta({ role: 'assistant', content: '' }, [])],
      [delta({ content: 'a' })],
      [delta({ content: 'b' })],
    ]);
    expect([run.firstMs, run.lastMs]).toEqual([2, 3]);
  });

  it('take the server’s count of reasoning tokens instead of their own', () => {
    const usage = { prompt_tokens: 1, completion_tokens: 9, completion_tokens_details: { reasoning_tokens: 7 } };
    expect(take([[delta({ reasoning_content: 'Hm' }), JSON.stringify({ choices: [], usage })]]).reasoningTokens).toBe(
      7,
    );
  });

  it('end with an error, and keep what came before it', () => {
    const run = take([[delta({ content: 'Half' }), '{"error":{"message":"Too late."}}', delta({ content: 'x' })]]);
    expect(run).toMatchObject({ state: 'failed', text: 'Half', fault: { message: 'Too late.', param: null } });
  });

  it('hold at most 128 calls', () => {
    const calls = Array.from({ length: 200 }, (_, index) => ({
      index,
      id: `${index}`,
      function: { name: 'f', arguments: '' },
    }));
    expect(take([[delta({ tool_calls: calls })]]).calls.length).toBe(128);
  });
});
