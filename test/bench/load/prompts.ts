import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Tokenizer } from '@shoal/model';
import type { ClientRequest } from './client.ts';
import type { PlannedRequest } from './workload.ts';

const HELD_OUT = join(import.meta.dirname, '../../golden/fixtures/held-out.txt');
const STORY_END = '<|endoftext|>';

/** Stories that were not in the default model's training data. */
export function heldOutStories(): string[] {
  const stories = readFileSync(HELD_OUT, 'utf8').split(STORY_END);
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
