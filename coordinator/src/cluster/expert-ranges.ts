import type { ExpertIndex } from '@shoal/placement';

/** Experts as `0-31,64`: whole layers are common. Keeps their order, where they rise by one together. */
export function rangesOf(experts: Iterable<ExpertIndex>): string {
  const runs: [number, number][] = [];
  for (const expert of experts) {
    const last = runs.at(-1);
    if (last && expert === last[1] + 1) last[1] = expert;
    else runs.push([expert, expert]);
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join();
}

/** Undefined if the text is none, or names an expert from `most` on or more than so many. */
export function readRanges(text: string, most: number): ExpertIndex[] | undefined {
  const experts: ExpertIndex[] = [];
  if (text === '') return experts;
  for (const run of text.split(',')) {
    const match = /^(\d{1,7})(?:-(\d{1,7}))?$/.exec(run);
    if (!match) return undefined;
    const from = Number(match[1]);
    const to = Number(match[2] ?? match[1]);
    if (to < from || to >= most || experts.length + to - from >= most) return undefined;
    for (let expert = from; expert <= to; expert++) experts.push(expert);
  }
  return experts;
}

export const ascending = (experts: Iterable<ExpertIndex>): ExpertIndex[] => [...experts].sort((a, b) => a - b);
