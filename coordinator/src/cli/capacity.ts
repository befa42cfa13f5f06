import {
  answerLayers,
  expertLayers,
  type HeadConfig,
  headTensors,
  keptPositions,
  kvWidth,
  listDenseTensors,
  listTensorSpecs,
  type ModelConfig,
  moeLayers,
  numDecoderLayers,
  slotsPerSequence,
} from '@shoal/model';
import { positionBytes } from '@shoal/kernels';
import { capacityInExperts, PLEDGE_FILL } from '@shoal/placement';
import { denseLayout, type DenseFormat, expertShape, headLayout, type Quant, shardBytes } from '@shoal/weights';
import { defaultConfig } from '../config.ts';
import { DRAFT_FORMAT } from '../draft-model.ts';
import { chooseLocalLayers, lapsPerPass, type LocalLayerChoice } from '../local-experts/choose-layers.ts';

export interface PlanInput {
  config: ModelConfig;
  quant: Quant;
  denseQuant: DenseFormat;
  /** What each tab lends. */
  tabBytes: number;
  replicas: number;
  /** Round trip between coordinator and tabs. */
  rttMs: number;
  /** Positions of one sequence. */
  contextTokens: number;
  /** How fast the coordinator reads from its memory. */
  bandwidthBytesPerS: number;
  /** A model that drafts, and the format of its weights. */
  draftModel?: ModelConfig | undefined;
  draftQuant?: DenseFormat | undefined;
  /** A head that drafts. */
  head?: HeadConfig | undefined;
}

/** What it takes to serve a model. Sizes in bytes, rates in tokens per second of one stream. */
export type ServingPlan = ReturnType<typeof planServing>;

/** Bytes of one value on the wire. */
const HALF_BYTES = 2;

/**
 * What the coordinator's process has resident beside weights, experts and KV cache, and for each token of the vocabulary. Measured:
 * 0.26 GiB with the default model (2,048 tokens), 0.45 GiB with gpt-oss's vocabulary of 201,088.
 */
const PROCESS_BYTES = 256 * 2 ** 20;
const VOCABULARY_BYTES = 2 ** 10;

/** Plans from a model's config alone. Tabs hold whole experts. Throws a RangeError where a tab is too small for one. */
export function planServing(input: PlanInput) {
  const { config, quant, tabBytes, replicas } = input;
  const { hiddenSize, moeIntermediateSize, nRoutedExperts, numExpertsPerTok } = config;
  const layers = moeLayers(config).length;
  const laps = answerLayers(config).length;
  const expertBytes = shardBytes(expertShape(config, quant));
  const rowBytes = hiddenSize * HALF_BYTES;
  const { mtp } = localLayersFor(config, expertBytes, 0);
  const onTabs = (layers + (mtp === 'tabs' ? 1 : 0)) * nRoutedExperts;
  const allExpertsBytes = layers * nRoutedExperts * expertBytes;
  return {
    moeLayers: layers,
    hiddenSize,
    expertWidth: moeIntermediateSize,
    expertsPerLayer: nRoutedExperts,
    expertsPerToken: numExpertsPerTok,
    /** Slots of a text, which experts get in the place of its tokens; undefined without. */
    slotsPerText: slotsPerSequence(config),
    expertBytes,
    allExpertsBytes,
    coordinator: planCoordinator(input, allExpertsBytes),
    /** Undefined without one. */
    draftModel: input.draftModel && planDraftModel(input.draftModel, input),
    head: input.head && planHead(input.head, input),
    /** Where the experts of the MTP module are without `--local-experts`; undefined: the model has none. */
    mtpExperts: mtp,
    tabs: planTabs(onTabs, expertBytes, tabBytes, replicas),
    lapsPerToken: laps,
    rowBytes,
    /** Both ways, with one tab in each lap. */
    floorBytesPerToken: laps * 2 * rowBytes,
    ceilings: ceilings(input, laps),
    /** What `--local-experts` buys, for twice the memory each, from the first that holds a layer to the first that holds all. */
    localExperts: { layerBytes: nRoutedExperts * expertBytes, steps: localExperts(input, expertBytes) },
  };
}

/** What a draft model needs on the coordinator. */
export function planDraftModel(
  config: ModelConfig,
  { contextTokens, draftQuant: format = DRAFT_FORMAT }: Pick<PlanInput, 'contextTokens' | 'draftQuant'>,
) {
  const needs = denseNeeds(config, format, Math.min(contextTokens, config.maxPositionEmbeddings));
  return { ...needs, format, memoryBytes: needs.weightsBytes + needs.kvBytesAtContext };
}

/** What a head needs on the coordinator: its KV cache is of the model's positions. */
function planHead(config: HeadConfig, { contextTokens, denseQuant }: Pick<PlanInput, 'contextTokens' | 'denseQuant'>) {
  const { attention, numHiddenLayers } = config.transformer;
  const weightsBytes = headLayout(config, denseQuant).totalBytes;
  const kvBytesPerToken = numHiddenLayers * positionBytes(kvWidth(attention));
  const kvBytesAtContext = contextTokens * kvBytesPerToken;
  return {
    kind: config.head.kind,
    parameters: parametersOf(headTensors(config)),
    weightsBytes,
    kvBytesPerToken,
    kvBytesAtContext,
    contextTokens,
    memoryBytes: weightsBytes + kvBytesAtContext,
  };
}

/** What a model takes in the dense engine, with one sequence. */
function denseNeeds(config: ModelConfig, format: DenseFormat, contextTokens: number) {
  // An encoder keeps nothing.
  const positionKvBytes = config.encoder ? 0 : positionBytes(kvWidth(config.attention));
  const positionsKept = config.seq2seq
    ? 2 * numDecoderLayers(config) * contextTokens
    : keptPositions(config, contextTokens);
  return {
    parameters: countParameters(config),
    weightsBytes: denseLayout(config, format).totalBytes,
    kvBytesPerToken: numDecoderLayers(config) * positionKvBytes,
    /** Of one sequence of `contextTokens`; of an encoder–decoder after a source of as many. */
    kvBytesAtContext: positionsKept * positionKvBytes,
    contextTokens,
  };
}

function planCoordinator(input: PlanInput, allExpertsBytes: number) {
  const { config, denseQuant, contextTokens, draftModel, head } = input;
  const needs = denseNeeds(config, denseQuant, contextTokens);
  const draftBytes = (draftModel ? planDraftModel(draftModel, input) : head && planHead(head, input))?.memoryBytes ?? 0;
  const processBytes = PROCESS_BYTES + config.vocabSize * VOCABULARY_BYTES;
  const loadedExpertBytes = Math.min(allExpertsBytes, defaultConfig().expertMemoryBytes);
  return {
    ...needs,
    /** Experts for audits and for what no tab serves: `--expert-memory` at its default. */
    loadedExpertBytes,
    processBytes,
    /** All of these together, with one sequence, and a draft model or a head. */
    memoryBytes: needs.weightsBytes + needs.kvBytesAtContext + loadedExpertBytes + processBytes + draftBytes,
  };
}

const GIB = 2 ** 30;

function localExperts(input: PlanInput, expertBytes: number) {
  const { config } = input;
  const all = expertLayers(config).length * config.nRoutedExperts * expertBytes;
  const steps: ReturnType<typeof localExpertsStep>[] = [];
  for (let localBytes = GIB; steps.length === 0 || localBytes < 2 * all; localBytes *= 2) {
    if (localBytes >= config.nRoutedExperts * expertBytes) steps.push(localExpertsStep(input, expertBytes, localBytes));
  }
  return steps;
}

/** The choice with all options but `--local-experts` at their defaults. */
function localLayersFor(config: ModelConfig, shardBytes: number, localBytes: number): LocalLayerChoice {
  const { expertMemoryBytes, mtpExperts: mtp } = defaultConfig();
  return chooseLocalLayers({ config, shardBytes, localBytes, expertMemoryBytes, mtp });
}

function localExpertsStep(input: PlanInput, expertBytes: number, localBytes: number) {
  const { config, tabBytes, replicas, bandwidthBytesPerS, rttMs } = input;
  const localLayers = localLayersFor(config, expertBytes, localBytes);
  const laps = lapsPerPass(config, localLayers);
  const onTabs = moeLayers(config).length - localLayers.layers.length + (localLayers.mtp === 'tabs' ? 1 : 0);
  const readPerLayer = config.numExpertsPerTok * expertBytes;
  const readLayers = answerLayers(config).length - laps;
  const weightsReadPerToken = ceilings(input, laps).weightsReadPerToken + readLayers * readPerLayer;
  return {
    localBytes,
    /** Of the main model. */
    layers: localLayers.layers.length,
    mtp: localLayers.mtp,
    lapsPerToken: laps,
    tabs: onTabs === 0 ? 0 : planTabs(onTabs * config.nRoutedExperts, expertBytes, tabBytes, replicas).count,
    /** By the coordinator, with the chosen experts of its layers. */
    weightsReadPerToken,
    /** As `ceilings.both`. */
    tokensPerSecond: 1 / ((laps * rttMs) / 1000 + weightsReadPerToken / bandwidthBytesPerS),
  };
}

function countParameters(config: ModelConfig): number {
  return parametersOf(listDenseTensors(config));
}

/** Of a structure of tensor specs. */
function parametersOf(specs: unknown): number {
  return listTensorSpecs(specs).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

function planTabs(experts: number, expertBytes: number, tabBytes: number, replicas: number) {
  const expertsPerTab = Math.min(experts, capacityInExperts(tabBytes, expertBytes));
  if (expertsPerTab < 1) {
    const needed = Math.ceil(expertBytes / PLEDGE_FILL);
    throw new RangeError(
      `a tab must lend ${needed} bytes to hold one expert of ${expertBytes}; ${tabBytes} are too few`,
    );
  }
  const usableBytesPerTab = tabBytes * PLEDGE_FILL;
  return {
    // Copies of an expert are on different tabs.
    count: Math.max(replicas, Math.ceil((experts * replicas) / expertsPerTab)),
    /** The count if experts were divisible. */
    countByBytes: Math.max(replicas, Math.ceil((experts * replicas * expertBytes) / usableBytesPerTab)),
    expertsPerTab,
    downloadBytesPerTab: expertsPerTab * expertBytes,
    usableBytesPerTab,
  };
}

/**
 * Limits from laps × round trip, from memory bandwidth, and from both, without the time of experts. A token reads all of the
 * coordinator's weights once, except for an embedding that is not also the head, of which it reads a row, and for the encoder of an
 * encoder–decoder.
 */
function ceilings({ config, denseQuant, rttMs, bandwidthBytesPerS }: PlanInput, laps: number) {
  const { segments } = denseLayout(config, denseQuant);
  const ofEncoder = new Set(Array.from({ length: config.seq2seq?.encoderLayers ?? 0 }, (_, i) => `layers.${i}`));
  const weightsReadPerToken = segments
    .filter(({ name }) => name !== 'mtp' && (name !== 'embed' || config.tieWordEmbeddings) && !ofEncoder.has(name))
    .reduce((sum, { bytes }) => sum + bytes, 0);
  const lapsS = (laps * rttMs) / 1000;
  const readS = weightsReadPerToken / bandwidthBytesPerS;
  return { roundTrip: 1 / lapsS, bandwidth: 1 / readS, both: 1 / (lapsS + readS), weightsReadPerToken };
}

/** More values than any cache holds. */
const MEASURED_VALUES = 16 * 1024 * 1024;
const REPEATS = 5;

/** Bytes per second that a loop in one thread reads from memory here: the best of a few tries of a tenth of a second. */
export function measureBandwidth(): number {
  const values = new Float64Array(MEASURED_VALUES).fill(1);
  let best = 0;
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const startedMs = performance.now();
    const sum = sumOf(values);
    const seconds = (performance.now() - startedMs) / 1000;
    // The sum is used so that the compiler keeps the loop.
    if (sum > 0) best = Math.max(best, values.byteLength / seconds);
  }
  return best;
}

function sumOf(values: Float64Array): number {
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i < values.length; i += 4) {
    a += values[i]!;
    b += values[i + 1]!;
    c += values[i + 2]!;
    d += values[i + 3]!;
  }
  return a + b + c + d;
}
