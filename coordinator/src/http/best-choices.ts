import type { ParsedRequest } from './requests/parsed-request.ts';
import type { WholeChoice } from './shapes/shape.ts';

/**
 * Of each prompt's `bestOf` answers the `n` with the highest log-probability per token (OpenAI's `best_of`), best first and numbered
 * anew. The same list if all are wanted.
 */
export function bestChoices(
  choices: readonly WholeChoice[],
  { n, bestOf, prompts, echo }: Pick<ParsedRequest, 'n' | 'bestOf' | 'prompts' | 'echo'>,
): readonly WholeChoice[] {
  if (bestOf === n) return choices;
  return prompts.flatMap(({ ids }, prompt) => {
    // The prompt's tokens are as likely in each answer that repeats them, and would outweigh short answers.
    const echoed = echo ? ids.length : 0;
    return choices
      .slice(prompt * bestOf, (prompt + 1) * bestOf)
      .sort((a, b) => meanLogprob(b, echoed) - meanLogprob(a, echoed))
      .slice(0, n)
      .map((choice, index) => ({ ...choice, index: prompt * n + index }));
  });
}

function meanLogprob({ answer: { tokens } }: WholeChoice, echoed: number): number {
  const known = tokens.slice(echoed).flatMap(({ logprob }) => logprob ?? []);
  return known.length === 0 ? -Infinity : known.reduce((sum, logprob) => sum + logprob, 0) / known.length;
}
