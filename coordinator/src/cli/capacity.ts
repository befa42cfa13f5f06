import { denseTensors, expertLayers, kvWidth, listTensorSpecs, type ModelConfig, moeLayers } from '@shoal/model';
import { capacityInExperts, PLEDGE_FILL } from '@shoal/placement';
import { denseLayout, type DenseFormat, type Quant, shardBytes } from '@shoal/weights';
import { defaultConfig, type MtpPlace } from '../config.ts';
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
  /** What the coordinator's processor reads from its memory. */
  bandwidthBytesPerS: number;
}

/** What memory for whole layers of experts at the coordinator (`--local-experts`) buys. */
export interface LocalExpertsStep {
  localBytes: number;
  /** Layers of the main model in it, and where the MTP module's experts are. */
  layers: number;
  mtp: MtpPlace | undefined;
  lapsPerToken: number;
  tabs: number;
  /** Of the coordinator's, the chosen experts of its layers included. */
  weightsReadPerToken: number;
  /** As `ceilings.both`: for one stream. */
  tokensPerSecond: number;
}

/** What it takes to serve a model, from its config alone. Sizes in bytes, rates in tokens per second of one stream. */
export interface ServingPlan {
  moeLayers: number;
  hiddenSize: number;
  expertWidth: number;
  expertsPerLayer: number;
  expertsPerToken: number;
  expertBytes: number;
  allExpertsBytes: number;
  coordinator: {
    parameters: number;
    weightsBytes: number;
    kvBytesPerToken: number;
    /** Of one sequence of `contextTokens`. */
    kvBytesAtContext: number;
    contextTokens: number;
  };
  /** Where those of the MTP module are without `--local-experts`; undefined: the model has none. */
  mtpExperts: MtpPlace | undefined;
  tabs: {
    count: number;
    /** Were experts divisible: what their bytes alone would fill. */
    countByBytes: number;
    expertsPerTab: number;
    downloadBytesPerTab: number;
    usableBytesPerTab: number;
  };
  lapsPerToken: number;
  rowBytes: number;
  /** With one tab in each lap, both ways. */
  floorBytesPerToken: number;
  ceilings: {
    /** 1 / (laps × round trip) */
    roundTrip: number;
    /** Bandwidth / the coordinator's weights that a token reads. */
    bandwidth: number;
    /** Of both together, experts' time not counted. */
    both: number;
    weightsReadPerToken: number;
  };
  localExperts: {
    layerBytes: number;
    /** For twice the memory each, from the first that holds a layer to the first that holds all. */
    steps: LocalExpertsStep[];
  };
}

/** Bytes of one value on the wire and in the KV cache. */
const HALF_BYTES = 2;

/**
 * The plan, as the planning table of the design computes it, with what it leaves out: that a tab holds whole experts.
 * Throws a RangeError where a tab holds none.
 */
export function planServing(input: PlanInput): ServingPlan {
  const { config, quant, tabBytes, replicas, contextTokens } = input;
  const { hiddenSize, moeIntermediateSize, nRoutedExperts, numExpertsPerTok } = config;
  const layers = moeLayers(config).length;
  const expertBytes = shardBytes({ hiddenSize, moeIntermediateSize, quant });
  const kvBytesPerToken = config.numHiddenLayers * kvWidth(config.attention) * HALF_BYTES;
  const rowBytes = hiddenSize * HALF_BYTES;
  const { mtp } = localLayersFor(config, expertBytes, 0);
  const onTabs = (layers + (mtp === 'tabs' ? 1 : 0)) * nRoutedExperts;
  return {
    moeLayers: layers,
    hiddenSize,
    expertWidth: moeIntermediateSize,
    expertsPerLayer: nRoutedExperts,
    expertsPerToken: numExpertsPerTok,
    expertBytes,
    allExpertsBytes: layers * nRoutedExperts * expertBytes,
    coordinator: {
      parameters: countParameters(config),
      weightsBytes: denseLayout(config, input.denseQuant).totalBytes,
      kvBytesPerToken,
      kvBytesAtContext: contextTokens * kvBytesPerToken,
      contextTokens,
    },
    mtpExperts: mtp,
    tabs: planTabs(onTabs, expertBytes, tabBytes, replicas),
    lapsPerToken: layers,
    rowBytes,
    floorBytesPerToken: layers * 2 * rowBytes,
    ceilings: ceilings(input, layers),
    localExperts: { layerBytes: nRoutedExperts * expertBytes, steps: localExperts(input, expertBytes) },
  };
}

const GIB = 2 ** 30;

function localExperts(input: PlanInput, expertBytes: number): LocalExpertsStep[] {
  const { config } = input;
  const all = expertLayers(config).length * config.nRoutedExperts * expertBytes;
  const steps: LocalExpertsStep[] = [];
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

function localExpertsStep(input: PlanInput, expertBytes: number, localBytes: number): LocalExpertsStep {
  const { config, tabBytes, replicas, bandwidthBytesPerS, rttMs } = input;
  const localLayers = localLayersFor(config, expertBytes, localBytes);
  const laps = lapsPerPass(config, localLayers);
  const onTabs = laps + (localLayers.mtp === 'tabs' ? 1 : 0);
  const readPerLayer = config.numExpertsPerTok * expertBytes;
  const weightsReadPerToken = ceilings(input, laps).weightsReadPerToken + localLayers.layers.length * readPerLayer;
  return {
    localBytes,
    layers: localLayers.layers.length,
    mtp: localLayers.mtp,
    lapsPerToken: laps,
    tabs: onTabs === 0 ? 0 : planTabs(onTabs * config.nRoutedExperts, expertBytes, tabBytes, replicas).count,
    weightsReadPerToken,
    tokensPerSecond: 1 / ((laps * rttMs) / 1000 + weightsReadPerToken / bandwidthBytesPerS),
  };
}

function countParameters(config: ModelConfig): number {
  return listTensorSpecs(denseTensors(config)).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

function planTabs(experts: number, expertBytes: number, tabBytes: number, replicas: number): ServingPlan['tabs'] {
  const expertsPerTab = Math.min(experts, capacityInExperts(tabBytes, expertBytes));
  if (expertsPerTab < 1) {
    const needed = Math.ceil(expertBytes / PLEDGE_FILL);
    throw new RangeError(
      `a tab must lend ${needed} bytes to hold one expert of ${expertBytes}; ${tabBytes} are too few`,
    );
  }
  const usableBytesPerTab = tabBytes * PLEDGE_FILL;
  return {
    // Copies of an expert are in different tabs.
    count: Math.max(replicas, Math.ceil((experts * replicas) / expertsPerTab)),
    countByBytes: Math.max(replicas, Math.ceil((experts * replicas * expertBytes) / usableBytesPerTab)),
    expertsPerTab,
    downloadBytesPerTab: expertsPerTab * expertBytes,
    usableBytesPerTab,
  };
}

/** A token reads all of the coordinator's weights once, but of an embedding that is no head one row. */
function ceilings({ config, denseQuant, rttMs, bandwidthBytesPerS }: PlanInput, laps: number): ServingPlan['ceilings'] {
  const { segments } = denseLayout(config, denseQuant);
  const weightsReadPerToken = segments
    .filter(({ name }) => name !== 'mtp' && (name !== 'embed' || config.tieWordEmbeddings))
    .reduce((sum, { bytes }) => sum + bytes, 0);
  const lapsS = (laps * rttMs) / 1000;
  const readS = weightsReadPerToken / bandwidthBytesPerS;
  return { roundTrip: 1 / lapsS, bandwidth: 1 / readS, both: 1 / (lapsS + readS), weightsReadPerToken };
}

/** Values read at a time: far beyond any cache. */
const MEASURED_VALUES = 16 * 1024 * 1024;
const REPEATS = 5;

/** Bytes per second that a plain loop in one thread reads from memory here: the best of a few tries, in a tenth of a second each. */
export function measureBandwidth(): number {
  const values = new Float64Array(MEASURED_VALUES).fill(1);
  let best = 0;
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const startedMs = performance.now();
    const sum = sumOf(values);
    const seconds = (performance.now() - startedMs) / 1000;
    // The sum is used, so that no compiler leaves the loop out.
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
