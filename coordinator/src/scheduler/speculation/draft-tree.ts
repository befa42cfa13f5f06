import type { RowSlots } from '@shoal/model';

/** Drafts of one sequence in the order of their rows. A node's parent comes before it; −1 is the last known token. */
export interface DraftTree {
  readonly tokens: readonly number[];
  readonly parents: readonly number[];
}

export const NO_DRAFTS: DraftTree = { tokens: [], parents: [] };

/** Drafts that follow one another. */
export function chain(tokens: readonly number[]): DraftTree {
  return { tokens, parents: tokens.map((_, i) => i - 1) };
}

/** The nodes from the first draft to this one; none for −1. */
export function pathTo({ parents }: Pick<DraftTree, 'parents'>, node: number): number[] {
  const path: number[] = [];
  for (let at = node; at >= 0; at = parents[at]!) path.push(at);
  return path.reverse();
}

/**
 * As a row has them: the slots of the last positions up to `position`; without those that are in their own places, and undefined
 * where all are.
 */
export function slotsOf(slots: readonly number[], position: number): RowSlots {
  const first = position - slots.length + 1;
  const moved = slots.findIndex((slot, i) => slot !== first + i);
  return moved < 0 ? undefined : slots.slice(moved);
}
