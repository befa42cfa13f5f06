import { type LayerAttention, type ModelConfig, numDecoderLayers } from './model-config.ts';

/**
 * How a model's layers share the pages of a KV cache. A page holds some consecutive positions of one sequence in some layers.
 * Each of the sequence's page tables is about the layers of one page; layers with a window have tables of their own, so that
 * their pages can be given back when the window has passed.
 */
export interface KvPaging {
  /** Layers of a page. */
  layersPerPage: number;
  /** Page tables of the layers that attend to all positions; these come first. */
  fullTables: number;
  /** Page tables of the layers with a window or chunks. */
  windowTables: number;
  /** A row of those layers attends to this many positions before its own at most. */
  reach: number;
}

/** All layers attend to all positions: one table, of all layers. */
export function onePageTable(numLayers: number): KvPaging {
  return { layersPerPage: numLayers, fullTables: 1, windowTables: 0, reach: 0 };
}

type PagedConfig = Pick<
  ModelConfig,
  'layerAttention' | 'numHiddenLayers' | 'numNextnPredictLayers' | 'maxPositionEmbeddings' | 'encoder' | 'seq2seq'
>;

/** More tables would cost more than the layers that they save. */
const MAX_TABLES = 8;

/**
 * The paging of a model's main layers. The MTP module's layer lies on the pages of the first full table, since the module keeps
 * other positions than the main model; a model without one then has its windows on full tables too. An encoder keeps nothing of a
 * layer once the next has begun, so its pages are of one layer. An encoder–decoder's are of the decoder's layers: positions of the
 * source hold what cross-attention reads, those behind them what the decoder's attention to its own rows does.
 */
export function kvPaging(config: PagedConfig): KvPaging {
  const { numHiddenLayers, numNextnPredictLayers } = config;
  if (config.encoder) return onePageTable(1);
  if (config.seq2seq) return onePageTable(numDecoderLayers(config));
  const reaches = windowReaches(config);
  const windowed = reaches.length;
  const full = numHiddenLayers - windowed;
  if (windowed === 0 || (full === 0 && numNextnPredictLayers > 0)) return onePageTable(numHiddenLayers);
  const reach = Math.max(...reaches);
  let best: (KvPaging & { unused: number }) | undefined;
  for (let layersPerPage = numHiddenLayers; layersPerPage > 0; layersPerPage--) {
    const [fullTables, windowTables] = [full, windowed].map((layers) => Math.ceil(layers / layersPerPage)) as [
      number,
      number,
    ];
    const tables = fullTables + windowTables;
    const unused = tables * layersPerPage - numHiddenLayers;
    if (tables > MAX_TABLES || (best && unused >= best.unused)) continue;
    best = { layersPerPage, fullTables, windowTables, reach, unused };
  }
  const { unused: _, ...paging } = best!;
  return paging;
}

/** Of each main layer whose window is shorter than the context, how far back it reaches. */
function windowReaches({ layerAttention, numHiddenLayers, maxPositionEmbeddings }: PagedConfig): number[] {
  return layerAttention
    .slice(0, numHiddenLayers)
    .flatMap(({ span }) => (isWindowed(span, maxPositionEmbeddings) ? [span.positions - 1] : []));
}

function isWindowed<Span extends LayerAttention['span']>(
  span: Span,
  context: number,
): span is Exclude<Span, { kind: 'full' }> {
  return span.kind !== 'full' && span.positions < context;
}

/** The page table of each main layer: layers of one kind take turns, so that every part of the model has as many of each. */
export function pageTablesOfLayers(config: PagedConfig, paging = kvPaging(config)): number[] {
  const { fullTables, windowTables } = paging;
  const seen = { full: 0, windowed: 0 };
  return config.layerAttention.slice(0, config.numHiddenLayers).map(({ span }) => {
    const onWindows = windowTables > 0 && isWindowed(span, config.maxPositionEmbeddings);
    return onWindows ? fullTables + (seen.windowed++ % windowTables) : seen.full++ % fullTables;
  });
}

/**
 * Positions that a sequence of `length` keeps, over all layers: those of a window but for the rows of the pass in progress. Room
 * that a page has for more layers than it holds is counted too.
 */
export function keptPositions(config: PagedConfig, length: number): number {
  const { layersPerPage, fullTables, windowTables, reach } = kvPaging(config);
  return layersPerPage * (fullTables * length + windowTables * Math.min(length, reach + 1));
}
