import type { LabLayer, LabStudy, LayerFigures } from '@shoal/protocol';

type Pair = readonly [expert: number, weight: number];

function figuresOf(load: number[], changes: Partial<LayerFigures>): LayerFigures {
  const total = load.reduce((sum, count) => sum + count, 0);
  const shares = load.filter((count) => count > 0).map((count) => count / total);
  return {
    load,
    loadBits: shares.reduce((bits, share) => bits - share * Math.log2(share), 0),
    weightBits: 1,
    expertsPerToken: [0, 1, 2],
    dropped: 0,
    withoutExpert: 0,
    tabsPerToken: 1.5,
    bytesPerToken: 768,
    ...changes,
  };
}

/** A layer of assignments: each token's experts with weights, and what had no room. */
export function assignmentLayer(
  layer: number,
  numExperts: number,
  tokens: readonly (readonly Pair[])[],
  dropped: [number, number][] = [],
): LabLayer {
  const pairs = tokens.flat();
  const load = Array.from({ length: numExperts }, (_, e) => pairs.filter(([expert]) => expert === e).length);
  const counts = tokens.map((each) => each.length);
  const expertsPerToken: LayerFigures['expertsPerToken'] = [
    Math.min(...counts),
    pairs.length / tokens.length,
    Math.max(...counts),
  ];
  const withoutExpert = counts.filter((count) => count === 0).length;
  let end = 0;
  return {
    layer,
    figures: figuresOf(load, { expertsPerToken, dropped: dropped.length, withoutExpert }),
    rowEnd: counts.map((count) => (end += count)),
    experts: pairs.map(([expert]) => expert),
    weights: pairs.map(([, weight]) => weight),
    dropped,
  };
}

interface SlotsOf {
  experts: number;
  slotsPerExpert: number;
  /** [tokens][slots] */
  combine: number[][];
}

/** A layer of slots, which take equal parts of all tokens. */
export function slotLayer(layer: number, { experts, slotsPerExpert, combine }: SlotsOf): LabLayer {
  const load = Array.from({ length: experts }, () => slotsPerExpert);
  const share = 1 / combine.length;
  return {
    layer,
    figures: figuresOf(load, { expertsPerToken: [experts, experts, experts] }),
    slotsPerExpert,
    dispatch: combine.flatMap((slots) => slots.map(() => share)),
    combine: combine.flat(),
  };
}

export function studyOf({ layers, texts }: { layers: LabLayer[]; texts: string[] }): LabStudy {
  return {
    model: 'tiny',
    gate: 'top-1-capacity',
    title: 'Top 1',
    isOwn: false,
    settings: { k: 1 },
    tokens: texts.map((text, id) => ({ id, text })),
    experts: layers[0]!.figures.load.length,
    nll: 1.5,
    tabs: 4,
    tabsAreAssumed: true,
    layers,
  };
}
