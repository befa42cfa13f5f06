import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Tokenizer } from '@shoal/model';
import type { ClientRequest } from './client.ts';
import type { PlannedRequest } from './workload.ts';

const FIXTURES = join(import.meta.dirname, '../../golden/fixtures');
const STORY_END = '<|endoftext|>';

/** Stories that were not in the default model's training data. */
export function heldOutStories(): string[] {
  return storiesOf('held-out.txt');
}

/** Fables in the words of another time, which the default model finds hard. */
export function fables(): string[] {
  return storiesOf('aesop.txt');
}

function storiesOf(name: string): string[] {
  const stories = readFileSync(join(FIXTURES, name), 'utf8').split(STORY_END);
  return stories.map((story) => story.trim()).filter((story) => story.length > 0);
}

/** Beginnings of held-out stories with the planned lengths, each starting at a different place. */
export function promptsOf(
  chains: readonly (readonly PlannedRequest[])[],
  tokenizer: Pick<Tokenizer, 'encode' | 'decode'>,
): ClientRequest[][] {
  const stories = heldOutStories().map((story) => tokenizer.encode(story));
  return chains.map((chain, c) =>
    chain.map((request, r) => {
      const story = stories[(c + r) % stories.length]!;
      const from = request.seed % Math.max(1, story.length - request.promptTokens);
      return { ...request, prompt: tokenizer.decode(story.slice(from, from + request.promptTokens)) };
    }),
  );
}
