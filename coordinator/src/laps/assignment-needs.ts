import { adapterRange, type ExpertAdapter, type ItemAdapters, type RowWork } from '@shoal/model';

/** A call's assignments, in its layer, and what adapters add to them. */
export type LayerWork = RowWork & { layer: number; adapters?: ItemAdapters | undefined };

/** What computes an assignment must hold: the expert, and what adapters add to it. */
export interface Need {
  expert: number;
  adapters: readonly ExpertAdapter[];
}

/** In the order in which they were first seen, so that needs have one order whatever the batch. */
const seen = new WeakMap<ExpertAdapter, number>();
let numSeen = 0;

function orderOf(adapter: ExpertAdapter): number {
  let order = seen.get(adapter);
  if (order === undefined) seen.set(adapter, (order = numSeen++));
  return order;
}

/** The distinct needs of these assignments, in an order that does not depend on the other rows, and for each assignment its own. */
export function assignmentNeeds(
  { experts, adapters }: Pick<LayerWork, 'experts' | 'adapters'>,
  assignments: readonly number[],
): { needs: Need[]; needOf: Uint32Array } {
  const byKey = new Map<string | number, Need>();
  const keys = assignments.map((a) => {
    const expert = experts[a]!;
    const added = adapters ? adaptersOf(adapters, a) : [];
    const key = added.length === 0 ? expert : `${expert} ${added.map(orderOf).join()}`;
    if (!byKey.has(key)) byKey.set(key, { expert, adapters: added });
    return key;
  });
  const sorted = [...byKey].sort(([, a], [, b]) => a.expert - b.expert || byAdapters(a.adapters, b.adapters));
  const indices = new Map(sorted.map(([key], i) => [key, i]));
  return { needs: sorted.map(([, need]) => need), needOf: Uint32Array.from(keys, (key) => indices.get(key)!) };
}

function adaptersOf(adapters: ItemAdapters, assignment: number): ExpertAdapter[] {
  const [from, to] = adapterRange(adapters, assignment);
  // The coordinator's items have no others.
  return Array.from({ length: to - from }, (_, i) => adapters.experts[adapters.of[from + i]!] as ExpertAdapter);
}

function byAdapters(a: readonly ExpertAdapter[], b: readonly ExpertAdapter[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = orderOf(a[i]!) - orderOf(b[i]!);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
