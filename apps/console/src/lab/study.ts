import type { LabLayer, LabStudy } from '@shoal/protocol';

/** One weight of a token in a layer: that of an expert, or of all its slots. */
export interface Cell {
  token: number;
  expert: number;
  weight: number;
}

/** What a token got in a layer, best first where the gate gives assignments. */
export function cellsOf(layer: LabLayer, token: number): Cell[] {
  const { rowEnd, experts = [], weights = [] } = layer;
  if (!rowEnd) return slotCells(layer, token);
  const from = token === 0 ? 0 : rowEnd[token - 1]!;
  return experts.slice(from, rowEnd[token]).map((expert, i) => ({ token, expert, weight: weights[from + i]! }));
}

/** A token's weights of soft slots, summed for each expert. */
function slotCells({ combine = [], slotsPerExpert = 1, figures }: LabLayer, token: number): Cell[] {
  const numExperts = figures.load.length;
  const numSlots = numExperts * slotsPerExpert;
  return Array.from({ length: numExperts }, (_, expert) => {
    const first = token * numSlots + expert * slotsPerExpert;
    return { token, expert, weight: combine.slice(first, first + slotsPerExpert).reduce((a, b) => a + b, 0) };
  });
}

/** The largest weight of a study, by which its shades are measured. */
export function largestWeight({ layers, tokens }: LabStudy): number {
  let largest = 0;
  for (const layer of layers) {
    for (const token of tokens.keys()) {
      for (const { weight } of cellsOf(layer, token)) largest = Math.max(largest, weight);
    }
  }
  return largest;
}

/** A study's figures over all of its layers. */
export interface Summary {
  /** Mean −ln p of a token, in nats. */
  nll: number | null;
  /** Mean entropy of the load, as a share of what equal load has. */
  evenness: number;
  /** Mean entropy of a token's weights, in bits. */
  weightBits: number;
  expertsPerToken: [number, number, number];
  /** Share of all (token, layer, expert) that had no room, and of (token, layer) that are left with none. */
  dropped: number;
  withoutExpert: number;
  tabsPerToken: number;
  /** In all layers together. */
  bytesPerToken: number;
}

export function summaryOf({ layers, nll, experts, tokens }: LabStudy): Summary {
  const figures = layers.map((layer) => layer.figures);
  const mean = (value: (of: (typeof figures)[number]) => number): number =>
    figures.reduce((sum, each) => sum + value(each), 0) / figures.length;
  const perToken = mean((each) => each.expertsPerToken[1]);
  const dropped = mean((each) => each.dropped) / tokens.length;
  return {
    nll,
    evenness: experts > 1 ? mean((each) => each.loadBits) / Math.log2(experts) : 1,
    weightBits: mean((each) => each.weightBits),
    expertsPerToken: [
      Math.min(...figures.map((each) => each.expertsPerToken[0])),
      perToken,
      Math.max(...figures.map((each) => each.expertsPerToken[2])),
    ],
    dropped: dropped === 0 ? 0 : dropped / (dropped + perToken),
    withoutExpert: mean((each) => each.withoutExpert) / tokens.length,
    tabsPerToken: mean((each) => each.tabsPerToken),
    bytesPerToken: figures.reduce((sum, each) => sum + each.bytesPerToken, 0),
  };
}

/** The share of a study's assignments that another does not have; null where one of them has slots. */
export function changedShare(own: LabStudy, other: LabStudy): number | null {
  let [all, lost] = [0, 0];
  for (const [i, layer] of own.layers.entries()) {
    const theirs = other.layers[i];
    if (!theirs?.rowEnd || !layer.rowEnd) return null;
    for (const token of own.tokens.keys()) {
      const kept = new Set(cellsOf(theirs, token).map(({ expert }) => expert));
      for (const { expert } of cellsOf(layer, token)) {
        all++;
        if (!kept.has(expert)) lost++;
      }
    }
  }
  return all === 0 ? null : lost / all;
}

/** All of a study as CSV (RFC 4180): a line for each assignment, dropped ones too, or for each token and slot. */
export function csvOf(study: LabStudy): string {
  const slots = study.layers.some((layer) => layer.combine);
  const head = ['gate', 'layer', 'position', 'token_id', 'token', ...(slots ? ['slot', 'expert'] : ['expert'])];
  const lines: (string | number)[][] = [[...head, ...(slots ? ['dispatch', 'combine'] : ['weight', 'dropped'])]];
  for (const layer of study.layers) {
    for (const [token, { id, text }] of study.tokens.entries()) {
      const begin = [study.gate, layer.layer, token, id, text];
      const rows = slots ? slotLines(layer, token, study.tokens.length) : assignmentLines(layer, token);
      for (const row of rows) lines.push([...begin, ...row]);
    }
  }
  return lines.map((line) => `${line.map(quoted).join(',')}\r\n`).join('');
}

function assignmentLines(layer: LabLayer, token: number): number[][] {
  const kept = cellsOf(layer, token).map(({ expert, weight }) => [expert, weight, 0]);
  const dropped = (layer.dropped ?? []).filter(([row]) => row === token).map(([, expert]) => [expert, 0, 1]);
  return [...kept, ...dropped];
}

function slotLines({ dispatch = [], combine = [], slotsPerExpert = 1 }: LabLayer, token: number, tokens: number) {
  const numSlots = dispatch.length / tokens;
  return Array.from({ length: numSlots }, (_, slot) => [
    slot,
    Math.floor(slot / slotsPerExpert),
    dispatch[slot * tokens + token]!,
    combine[token * numSlots + slot]!,
  ]);
}

/** Quoted where it must be. A spreadsheet would compute a text that begins like a formula, so that gets an apostrophe. */
function quoted(value: string | number): string {
  if (typeof value === 'number') return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
