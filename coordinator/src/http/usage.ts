import type { ChoiceDetails } from './choice.ts';
import type { Usage } from './response-schema.ts';

export interface UsageCounts {
  promptTokens: number;
  completionTokens: number;
  reasoningTokens: number;
  choices: readonly ChoiceDetails[];
}

/** What a request has used, over all of its choices. */
export function usageOf({ promptTokens, completionTokens, reasoningTokens, choices }: UsageCounts): Usage {
  const limited = choices.flatMap(({ deviceLimit }) => deviceLimit ?? []);
  const drafted = choices.flatMap(({ speculation }) => speculation ?? []);
  const accepted = sum(drafted, (one) => one.accepted);
  const all = sum(drafted, (one) => one.drafted);
  const laps = sum(drafted, (one) => one.laps);
  const details = {
    ...(reasoningTokens > 0 && { reasoning_tokens: reasoningTokens }),
    ...(drafted.length > 0 && { accepted_prediction_tokens: accepted, rejected_prediction_tokens: all - accepted }),
  };
  const shoal = {
    ...(limited.length > 0 && {
      device_limit: limited[0]!.maxPeers,
      token_layers: sum(limited, (one) => one.tokenLayers),
      changed: sum(limited, (one) => one.changed),
    }),
    ...(drafted.length > 0 && {
      drafted: all,
      passes: sum(drafted, (one) => one.passes),
      ...(completionTokens > 0 && { laps_per_token: laps / completionTokens }),
    }),
  };
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    ...(Object.keys(details).length > 0 && { completion_tokens_details: details }),
    ...(Object.keys(shoal).length > 0 && { shoal }),
  };
}

function sum<T>(of: readonly T[], read: (one: T) => number): number {
  return of.reduce((all, one) => all + read(one), 0);
}
