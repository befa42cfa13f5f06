import type { Ledger } from './ledger.ts';
import type { ExpertIndex } from './types.ts';

/** Limit on (peer, expert) combinations examined: in a large swarm room is rarely stuck, and plans must be quick. */
const MAX_LOOKS = 200_000;

/**
 * Makes room by swaps: if the only room left is on donors that already hold the experts lacking a replica, moves another expert
 * there and puts the lacking one in its place. Returns whether any replica was added.
 *
 * @param counts [numExperts] wanted replicas
 */
export function exchange(ledger: Ledger, counts: Int32Array): boolean {
  const lacking: ExpertIndex[] = [];
  for (const [expert, count] of counts.entries()) if (ledger.holders[expert]!.length < count) lacking.push(expert);
  if (lacking.length === 0) return false;
  const roomy = Array.from(ledger.free.keys()).filter((bin) => ledger.free[bin]! > 0);
  if (roomy.length === 0) return false;
  const held = ledger.held();
  const before = ledger.numReplicas;
  let looks = 0;
  const enough = (): boolean => ++looks > MAX_LOOKS;
  for (const expert of lacking) {
    const swap = findSwap(ledger, held, roomy, expert, enough);
    if (swap === undefined) continue;
    const { receiver, moved, from } = swap;
    ledger.remove(from, moved);
    ledger.place(receiver, moved);
    ledger.place(from, expert);
    held[receiver]!.push(moved);
    held[from] = [...held[from]!.filter((other) => other !== moved), expert];
  }
  return ledger.numReplicas > before;
}

function findSwap(
  ledger: Ledger,
  held: readonly (readonly ExpertIndex[])[],
  roomy: readonly number[],
  expert: ExpertIndex,
  enough: () => boolean,
): { receiver: number; moved: ExpertIndex; from: number } | undefined {
  const layer = ledger.layerOf(expert);
  for (const receiver of roomy) {
    if (ledger.free[receiver]! <= 0) continue;
    for (const [from, experts] of held.entries()) {
      if (from === receiver || !ledger.mayHold(from, expert)) continue;
      // Takes it from the smallest part of a layer, which is a fragment already or whole elsewhere too.
      let best: ExpertIndex | undefined;
      for (const moved of experts) {
        if (enough()) return undefined;
        const of = ledger.layerOf(moved);
        const bindable = of === layer || ledger.bindable(from, layer);
        if (!bindable || ledger.room(receiver, of) < 1 || !ledger.mayHold(receiver, moved, from)) continue;
        if (best === undefined || ledger.heldOf(from, of) < ledger.heldOf(from, ledger.layerOf(best))) best = moved;
      }
      if (best !== undefined) return { receiver, moved: best, from };
    }
  }
  return undefined;
}
