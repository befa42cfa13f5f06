import type { ParsedRequest } from './requests/parsed-request.ts';
import type { WholeChoice } from './shapes/shape.ts';

/**
 * Of each prompt's `bestOf` answers the `n` with the highest log-probability per token (OpenAI's `best_of`), best first and numbered
 * anew. The same list if all are wanted.
 */
export function bestChoices(
  choices: readonly WholeChoice[],
  { n, bestOf, prompts }: Pick<ParsedRequest, 'n' | 'bestOf' | 'prompts'>,
): readonly WholeChoice[] {
  if (bestOf === n) return choices;
  return prompts.flatMap((_, prompt) =>
    choices
      .slice(prompt * bestOf, (prompt + 1) * bestOf)
      .sort((a, b) => meanLogprob(b) - meanLogprob(a))
      .slice(0, n)
      .map((choice, index) => ({ ...choice, index: prompt * n + index })),
  );
}

function meanLogprob({ answer: { tokens } }: WholeChoice): number {
  const known = tokens.flatMap(({ logprob }) => logprob ?? []);
  return known.length === 0 ? -Infinity : known.reduce((sum, logprob) => sum + logprob, 0) / known.length;
}
