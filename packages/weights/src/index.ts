export {
  adapterShardBytes,
  lowRankBytes,
  maxAdapterShardBytes,
  packAdapter,
  unpackAdapter,
  writeAdapterShard,
  writeLowRank,
} from './adapter-shard.ts';
export { chooseFormats, type Formats, QUANT_CHOICES, type WantedFormats } from './choose-formats.ts';
export { DENSE_FILE, denseFile, readDenseHeader } from './dense/header.ts';
export {
  alignUp,
  type DenseEntry,
  type DenseLayout,
  denseLayout,
  HEAD_SEGMENT,
  headLayout,
  type DenseSegment,
  type PackedDense,
} from './dense/layout.ts';
export { packDenseEntry } from './dense/pack.ts';
export {
  DENSE_FORMATS,
  type DenseFormat,
  packPanels,
  PANEL_BLOCK_BYTES,
  PANEL_COLS,
  PANEL_ROWS,
  panelBytes,
  type PanelFormat,
  unpackPanelRow,
  unpackPanels,
} from './dense/panels.ts';
export { WeightsError } from './errors.ts';
export { packExpert, packExpertRows, unpackExpert } from './expert.ts';
export {
  type BiasLayout,
  expertShape,
  type ExpertShape,
  type MatrixLayout,
  type MatrixName,
  matrixOf,
  type Quant,
  QUANTS,
  shapeText,
  shardBytes,
  type ShardLayout,
  shardLayout,
} from './layout.ts';
export { FORMAT_VERSION, formatVersionOf, type Manifest, parseManifest, shardHash } from './manifest.ts';
