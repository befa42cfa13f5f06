import { EXPERT_ACTIVATIONS, type ExpertActivation } from '@shoal/model';

/** What a tab computes that does not name its kinds of experts. */
const BEFORE_KINDS: readonly string[] = ['swiglu', 'f16', 'q8', 'q4'];

/** What a model's experts ask of whatever computes them. */
export interface ExpertNeeds {
  quant: string;
  /** swiglu by default. */
  activation?: ExpertActivation | undefined;
  bias?: boolean | undefined;
}

/** Among `hello.expertKinds`: the tab holds low-rank shards, and adds them where a lap says so. Others get no such laps. */
export const LOW_RANK_KIND = 'low-rank';

/** `hello.expertKinds` of a tab that computes every kind with these formats: activations, formats, `bias` and `low-rank`. */
export function allExpertKinds(quants: readonly string[]): string[] {
  return [...EXPERT_ACTIVATIONS, ...quants, 'bias', LOW_RANK_KIND];
}

/** The first thing that a model's experts need and a tab does not compute; undefined if there is none. */
export function missingExpertKind(
  { quant, activation = 'swiglu', bias = false }: ExpertNeeds,
  kinds: readonly string[] = BEFORE_KINDS,
): string | undefined {
  return [activation, quant, ...(bias ? ['bias'] : [])].find((need) => !kinds.includes(need));
}
