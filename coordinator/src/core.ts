import { type ForwardEngine, isMoeLayer, type ModelConfig, moeLayers, type Tokenizer } from '@shoal/model';
import { loadGenerationConfig, loadTokenizer } from '@shoal/model/node';
import { LoadMeter } from '@shoal/placement';
import { shardHash } from '@shoal/weights';
import { openPackedModel, type PackedModel, type PackProgress } from '@shoal/weights/node';
import { expertCounters } from './laps/lap-figures.ts';
import { Dispatcher, type RedispatchEvent } from './laps/dispatcher.ts';
import type { ExpertWorker, LoadProgress } from './local-experts/worker.ts';
import type { LapErrorReason } from './laps/lap.ts';
import { lapsPerPass, type LocalLayerChoice } from './local-experts/choose-layers.ts';
import { Scheduler, type SchedulerLimits } from './scheduler/scheduler.ts';
import { openDenseEngine } from './dense-engine.ts';
import type { CoordinatorOptions, HalfBatches } from './config.ts';
import { type LocalExpertThreads, localLayersOf, startLocalExperts } from './local-experts/local-experts.ts';
import { packedModel } from './packed.ts';
import { speculationOptions } from './speculation-options.ts';
import { EventLog } from './base/event-log.ts';
import { Swarm } from './swarm/swarm.ts';
import { openTimeline } from './timeline/open-timeline.ts';
import type { Timeline } from './timeline/timeline.ts';
import { NormLimits } from './trust/norm-limits.ts';
import { Trust } from './trust/trust.ts';

const MICRO_BATCHES: Readonly<Record<HalfBatches, SchedulerLimits['microBatches']>> = { auto: 'auto', on: 2, off: 1 };

export interface Core {
  config: ModelConfig;
  /** Ended by `close`; whoever has made a core without a coordinator closes it. */
  forward: ForwardEngine;
  scheduler: Scheduler;
  dispatcher: Dispatcher;
  swarm: Swarm;
  trust: Trust;
  events: EventLog;
  packed: PackedModel;
  tokenizer: Tokenizer;
  lapMs: { observe: (lapMs: number) => void };
  /** The coordinator's own experts: for audits and for what no tab serves. */
  work: ExpertWorker;
  /** What it holds for good, and where the experts of the MTP module are. */
  localLayers: LocalLayerChoice;
  /** Send the tabs away and end the coordinator's own threads. */
  close(): Promise<void>;
}

export type CoreOptions = Pick<
  CoordinatorOptions,
  | 'modelDir'
  | 'quant'
  | 'denseQuant'
  | 'cacheDir'
  | 'replicas'
  | 'rowFormat'
  | 'deviceLimit'
  | 'cpuDonors'
  | 'maxBatch'
  | 'maxQueue'
  | 'promptLaps'
  | 'speculate'
  | 'maxDrafts'
  | 'halfBatches'
  | 'engine'
  | 'threads'
  | 'kvMemoryBytes'
  | 'expertMemoryBytes'
  | 'localExpertBytes'
  | 'mtpExperts'
  | 'traceFile'
> & {
  /** Layers of `localExpertBytes` are loaded. */
  onLoadProgress?: (progress: LoadProgress) => void;
  onPackProgress?: (progress: PackProgress) => void;
  signal?: AbortSignal;
};

/** Everything but the network: model, engine, dispatcher and an empty swarm. */
export async function createCore(options: CoreOptions): Promise<Core> {
  /** What has been opened, in that order. */
  const opened: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const closeOne of opened.splice(0).toReversed()) await closeOne();
  };
  try {
    return await assembleCore(options, (closeOne) => opened.push(closeOne), close);
  } catch (error) {
    await close();
    throw error;
  }
}

/** What the parts of a core are made of. */
interface Base {
  options: CoreOptions;
  config: ModelConfig;
  forward: ForwardEngine;
  packed: PackedModel;
  events: EventLog;
  timeline: Timeline | undefined;
  plan: LocalLayerChoice;
  /** The MTP module's layer, where it has experts. */
  mtpLayer: number | undefined;
  own: LocalExpertThreads;
  norms: NormLimits;
}

async function assembleCore(
  options: CoreOptions,
  onClose: (closeOne: () => Promise<void>) => void,
  close: () => Promise<void>,
): Promise<Core> {
  const packed = await packedModel(options);
  const tokenizer = await loadTokenizer(packed.dir);
  const { eosTokenIds } = await loadGenerationConfig(packed.dir);
  const events = new EventLog();
  const trace = await openTimeline(options.traceFile, (error) =>
    events.add({ level: 'error', kind: 'server', text: `The trace has ended: ${error.message}` }),
  );
  onClose(() => trace.close());
  const { config, forward, plan } = await openForward(options, packed);
  onClose(() => forward.close());
  const norms = new NormLimits();
  const mtpLayer = isMoeLayer(config, config.numHiddenLayers) ? config.numHiddenLayers : undefined;
  const own = startLocalExperts(packed, { options, plan, mtpLayer, norms, events });
  onClose(() => own.close());
  await own.load(options.onLoadProgress);
  const { timeline } = trace;
  const base: Base = { options, config, forward, packed, events, timeline, plan, mtpLayer, own, norms };
  const trust = makeTrust(base);
  const lapMs: Core['lapMs'] = { observe: () => {} };
  // They ask each other later: who serves now, and what each expert was asked for.
  const swarm = makeSwarm(base, trust, (layers) => expertCounters(dispatcher, layers, config.nRoutedExperts));
  const dispatcher = makeDispatcher(base, trust, swarm, (ms) => lapMs.observe(ms));
  const scheduler = makeScheduler(base, dispatcher, eosTokenIds);
  onClose(async () => swarm.close());
  const foundOut = trust.onWrong;
  trust.onWrong = (peerId, wrong) => {
    // What it computed may be in what other requests would start from.
    scheduler.forgetPrefixes();
    foundOut(peerId, wrong);
  };
  const { work } = own;
  return {
    config,
    forward,
    scheduler,
    dispatcher,
    swarm,
    trust,
    events,
    packed,
    tokenizer,
    lapMs,
    work,
    localLayers: plan,
    close,
  };
}

/** The engine, and what the coordinator is to hold of the experts, which is judged before anything large is loaded. */
async function openForward(options: CoreOptions, packed: PackedModel) {
  const opened = await openPackedModel(packed);
  try {
    const { config, reader } = opened;
    const plan = localLayersOf(options, config, packed.manifest);
    const forward = await openDenseEngine({
      config,
      engine: options.engine ?? 'wasm',
      reader,
      packedDir: packed.dir,
      threads: options.threads,
      kvBytes: options.kvMemoryBytes,
    });
    return { config, forward, plan };
  } finally {
    await opened.close();
  }
}

function makeTrust({ own: { work }, norms, packed, config, forward, events }: Base): Trust {
  return new Trust({
    local: work.audits,
    recheck: work.rechecks,
    norms,
    modelDigest: packed.manifest.modelDigest,
    numExpertsPerTok: config.numExpertsPerTok,
    normGain: (layer) => forward.expertNormGain(layer),
    onError: (error) => events.add({ level: 'error', kind: 'server', text: `An audit was not possible: ${error}` }),
  });
}

/** `counters`: [layers.length × nRoutedExperts], rows that each expert was asked for since start. */
function makeSwarm(
  { options, config, packed: { manifest }, events, plan, mtpLayer, own: { work, localLayers } }: Base,
  trust: Trust,
  counters: (layers: readonly number[]) => Float64Array,
): Swarm {
  const { nRoutedExperts, hiddenSize } = config;
  const layers = moeLayers(config).filter((layer) => !localLayers.layers.has(layer));
  if (plan.mtp === 'tabs') layers.push(mtpLayer!);
  const meter = new LoadMeter(layers.length * nRoutedExperts);
  return new Swarm({
    model: {
      layers,
      expertsPerLayer: nRoutedExperts,
      groupsPerLayer: config.gate.nGroup,
      shardBytes: manifest.shardBytes,
      hiddenSize,
    },
    shardHash: (layer, expert) => shardHash(manifest, layer, expert)!,
    local: work.audits,
    trust,
    events,
    replicas: options.replicas,
    ...(options.rowFormat && { rowFormat: options.rowFormat }),
    cpuDonors: options.cpuDonors ?? true,
    load: () => meter.read(counters(layers), performance.now()),
  });
}

function makeDispatcher(
  { options, config, events, timeline, mtpLayer, own: { work, localLayers } }: Base,
  trust: Trust,
  swarm: Swarm,
  onLap: (lapMs: number) => void,
): Dispatcher {
  const { hiddenSize, nRoutedExperts, numExpertsPerTok } = config;
  return new Dispatcher({
    hiddenSize,
    nRoutedExperts,
    numExpertsPerTok,
    ...(options.rowFormat && { rowFormat: options.rowFormat }),
    local: work.laps,
    localLayers,
    mtpLayer,
    peers: () => swarm.serving(),
    onDispatch: ({ layer, numRows, topkIdx, topkWeights }, rows) =>
      trust.note(layer, rows, numRows, topkIdx, topkWeights),
    onRedispatch: (event) =>
      events.add({ level: 'warning', kind: 'lap', text: redispatchText(event), peerId: event.peerId }),
    onLap,
    timeline,
  });
}

function makeScheduler(
  { options, config, forward, packed, events, timeline, plan }: Base,
  experts: Dispatcher,
  eosTokenIds: readonly number[] | undefined,
): Scheduler {
  return new Scheduler({
    modelId: packed.manifest.modelId,
    forward,
    eosTokenIds,
    experts,
    speculation: speculationOptions(options, config, plan, events),
    lapsPerPass: lapsPerPass(config, plan),
    timeline,
    limits: {
      ...(options.deviceLimit !== undefined && { deviceLimit: options.deviceLimit }),
      ...(options.maxBatch !== undefined && { maxBatch: options.maxBatch }),
      ...(options.maxQueue !== undefined && { maxQueue: options.maxQueue }),
      ...(options.promptLaps !== undefined && { promptLaps: options.promptLaps }),
      microBatches: MICRO_BATCHES[options.halfBatches ?? 'auto'],
    },
    onRequest: (kind, request, error) => {
      if (kind !== 'failed') return;
      events.add({ level: 'error', kind: 'request', text: `Request ${request.id} failed: ${error?.message}` });
    },
  });
}

/** How the event log says it; other reasons stand for themselves. */
const FAILED_BY: Partial<Record<LapErrorReason, string>> = {
  closed: 'vanished',
  deadline: 'was late',
  wrong: 'gave a wrong result',
};

function redispatchText({ peerId, layer, rows, error, to, tookMs }: RedispatchEvent): string {
  const heirs = to.map((heir) => heir ?? 'the coordinator').join(' and ');
  const what = FAILED_BY[error.reason] ?? error.reason;
  return `${peerId} ${what} during layer ${layer}; ${rows} ${rows === 1 ? 'row' : 'rows'} went to ${heirs} in ${Math.round(tookMs)} ms`;
}
