import { expect, it } from 'vitest';
import { GenerationError } from '../scheduler/generation.ts';
import { Sequence } from '../scheduler/sequence.ts';
import { RequestBook } from './request-book.ts';

const newSequence = (id: string, signal = new AbortController().signal): Sequence =>
  new Sequence(
    { id, client: 'key ann', promptIds: [1, 2, 3], maxTokens: 9, temperature: 0, topP: 1, seed: 1, signal },
    1_000,
  );
let nowMs = 1_000;
const scheduler = { modelId: 'tiny', now: () => nowMs, running: [] as Sequence[], queued: [] as Sequence[] };

it('requests are shown with their client while they run, and with what came of them for a while after', () => {
  const book = new RequestBook();
  const one = newSequence('one');
  one.firstTokensMs = 1_240;
  scheduler.queued = [one];
  nowMs = 2_000;
  const view = { id: 'one', client: 'key ann', model: 'tiny', firstTokenMs: 240, ageMs: 1_000, endedAgoMs: null };
  expect(book.views(scheduler, undefined)).toMatchObject([{ ...view, state: 'queued' }]);
  scheduler.queued = [];
  const gone = AbortSignal.abort();
  book.answered('finished', one, undefined, 'tiny', nowMs);
  book.answered('cancelled', newSequence('two', gone), new GenerationError('cancelled', 'x'), 'tiny', nowMs);
  // A stop string ends the reading.
  book.answered('cancelled', newSequence('three'), new GenerationError('cancelled', 'x'), 'tiny', nowMs);
  book.answered('failed', newSequence('four'), new GenerationError('timeout', 'It took too long.'), 'tiny', nowMs);
  book.answered('cancelled', newSequence('five'), new GenerationError('stopped', 'By otto.'), 'tiny', nowMs);
  nowMs = 62_000;
  expect(book.views(scheduler, undefined)).toMatchObject([
    { id: 'five', state: 'cancelled', reason: 'By otto.', ageMs: 1_000, endedAgoMs: 60_000 },
    { id: 'four', state: 'failed', reason: 'It took too long.' },
    { id: 'three', state: 'finished' },
    { id: 'two', state: 'cancelled', reason: 'Its client went away.' },
    { id: 'one', state: 'finished' },
  ]);
  nowMs = 2_000_000;
  expect(book.views(scheduler, undefined)).toEqual([]);
  for (let i = 0; i < 1_000; i++) book.answered('finished', newSequence(`${i}`), undefined, 'tiny', nowMs);
  expect(book.views(scheduler, undefined)).toHaveLength(200);
});
