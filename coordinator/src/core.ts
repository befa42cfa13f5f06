import type { ForwardEngine, ModelConfig, Tokenizer } from '@shoal/model';
import { loadGenerationConfig, readTokenizerFiles, tokenizerFrom, withEncoderLimit } from '@shoal/model/node';
import { type Damage, openPackedModel, type PackedModel, type PackProgress } from '@shoal/weights/node';
import type { Adapters } from './adapters/adapters.ts';
import type { Bans } from './bans/index.ts';
import { adapterBytesOf, openAdapters } from './adapters/open-adapters.ts';
import { EventLog } from './base/event-log.ts';
import { UsageError } from './base/usage-error.ts';
import type { Config } from './config.ts';
import { RequestBook } from './console/request-book.ts';
import { Contributions } from './contribution/contributions.ts';
import { chooseConvention, type Convention, CONVENTION_NAMES, conventionByName } from './conventions/index.ts';
import { openDenseEngine } from './dense-engine.ts';
import { openDraftHead } from './draft-head.ts';
import { type DraftModel, openDraftModel, withOneDrafter } from './draft-model.ts';
import { checkOptionsFor } from './encoder-options.ts';
import { Grammars, vocabularyOf } from './grammar/index.ts';
import { Dispatcher } from './laps/dispatcher.ts';
import { lapsPerPass, type LocalLayerChoice } from './local-experts/choose-layers.ts';
import type { Lab } from './lab/lab.ts';
import { localLayersOf, startLocalExperts } from './local-experts/local-experts.ts';
import type { ExpertThread, ExpertThreadOptions, LoadProgress } from './local-experts/expert-thread.ts';
import { WeightsHealth } from './local-experts/weights-health.ts';
import { EncoderScheduler } from './scheduler/encoder/encoder-scheduler.ts';
import { packedModel, type PackHooks } from './packed-model.ts';
import { openRecords, type RecordsHooks } from './open-database.ts';
import { openLab } from './open-lab.ts';
import { openGovernment } from './open-settings.ts';
import type { Records } from './records/index.ts';
import { redispatchText } from './redispatch-text.ts';
import { Scheduler, type SchedulerLimits } from './scheduler/scheduler.ts';
import { headDrafter } from './scheduler/speculation/head-drafter.ts';
import { DraftModelEngine } from './scheduler/speculation/draft-model-engine.ts';
import type { Loaded } from './loaded.ts';
import type { Settings } from './settings/index.ts';
import { mtpLayerOf, newSwarm, swarmLayers } from './new-swarm.ts';
import type { SwarmCluster } from './swarm/swarm-cluster.ts';
import type { Swarm } from './swarm/swarm.ts';
import { TextEncoding } from './text/text-encoding.ts';
import { openTimeline } from './timeline/chrome-trace.ts';
import { NormLimits } from './trust/norm-limits.ts';
import { Quarantine } from './trust/quarantine.ts';
import { Trust } from './trust/trust.ts';

/** Everything of a coordinator but the network. */
export interface Core {
  /** Of the model. */
  config: ModelConfig;
  forward: ForwardEngine;
  /** The head that drafts for it (`--drafter`). */
  head: { name: string } | undefined;
  /** What drafts beside it (`--draft-model`), and what its KV cache takes. */
  draftModel: (DraftModel & { kvBytes: () => DraftModelEngine['kvBytes'] }) | undefined;
  scheduler: Scheduler;
  /** Of an encoder, which makes embeddings and no text. */
  encoder: EncoderScheduler | undefined;
  /** Those under way, and those that ended lately. */
  requests: RequestBook;
  dispatcher: Dispatcher;
  swarm: Swarm;
  trust: Trust;
  events: EventLog;
  /** What operators set while it runs. */
  settings: Settings;
  /** Who operators keep out. */
  bans: Bans;
  /** What outlives the process, and where it is; undefined if nothing is kept. */
  records: Records | undefined;
  /** What donors did. */
  contributions: Contributions;
  packed: PackedModel;
  /** The model's full name on a hub, ORG/NAME, if it was given so. */
  hubName: string | undefined;
  tokenizer: Tokenizer;
  /** What is known of the packed model's files. */
  health: WeightsHealth;
  /** Tokenizes clients' texts, long ones in threads. */
  texts: TextEncoding;
  /** How the model writes tool calls and reasoning. */
  convention: Convention;
  /** Compiles what answers must fit. */
  grammars: Grammars;
  /** The adapters that requests may name. */
  adapters: Adapters;
  /** Computes experts for audits and for what no tab serves. */
  work: ExpertThread;
  /** Where texts and gates are looked at. */
  lab: Lab | undefined;
  /** The layers that the coordinator holds itself (`--local-experts`), and where the experts of the MTP module are. */
  localLayers: LocalLayerChoice;
  /** Sends the tabs away and ends the coordinator's threads. */
  close(): Promise<void>;
}

/** What is there of a core when it joins others. */
export interface ClusterCore extends Pick<Core, 'packed' | 'events' | 'records'> {
  /** Those whose experts are on tabs. */
  layers: readonly number[];
}

export interface CoreHooks extends PackHooks, RecordsHooks {
  /** Called while the draft model is packed. */
  onDraftPackProgress?: (progress: PackProgress) => void;
  /** Called while the layers of `--local-experts` are loaded. */
  onLoadProgress?: (progress: LoadProgress) => void;
  onLap?: (lapMs: number) => void;
  /**
   * Joins other coordinators that serve the model. Called once it is loaded, so that no member leads or counts that cannot serve.
   */
  joinCluster?: (core: ClusterCore) => Promise<SwarmCluster | undefined>;
}

/** Opens the model and starts a scheduler over an empty swarm. Rejects, with nothing left running, when it cannot. */
export async function createCore(config: Config, hooks: CoreHooks = {}): Promise<Core> {
  const opened: Closable[] = [];
  const close = async (): Promise<void> => {
    for (const part of opened.splice(0).toReversed()) await part.close();
  };
  const closeLater = <Part extends Closable>(part: Part): Part => {
    opened.push(part);
    return part;
  };
  try {
    return { ...(await assemble(config, hooks, closeLater)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

interface Closable {
  close(): void | Promise<void>;
}

async function assemble(
  given: Config,
  hooks: CoreHooks,
  closeLater: <Part extends Closable>(part: Part) => Part,
): Promise<Omit<Core, 'close'>> {
  const config = withOneDrafter(given);
  const events = new EventLog();
  const quarantine = new Quarantine();
  // First, since a database that cannot be used is found at no cost.
  const records = await openRecords({ config, events, quarantine, ...hooks }, closeLater);
  const { settings, bans } = closeLater(await openGovernment(config, records?.database, quarantine));
  const onTraceError = ({ message }: Error): void => logError(events, `The trace has ended: ${message}`);
  const health = closeLater(new WeightsHealth({ events }));
  const onDamage = (damage: Damage): void => {
    health.report(damage);
    // Later reports are in the log.
    if (!health.started) hooks.onNotice?.(damage.text);
  };
  const { packed, hubName } = await packedModel(config, hooks, onDamage);
  const files = await readTokenizerFiles(packed.dir);
  const tokenizer = tokenizerFrom(files);
  const texts = closeLater(new TextEncoding(tokenizer, { files }));
  const { eosTokenIds } = await loadGenerationConfig(packed.dir);
  const { timeline } = closeLater(await openTimeline(config.traceFile, onTraceError));
  const { model, forward, localLayers, head } = await openDense(config, packed, hubName, hooks);
  closeLater(forward);
  const names = [packed.manifest.modelId, hubName ?? ''];
  const adapters = await openAdapters(config, { forward, tokenizer }, names, { ...hooks, events });
  const served = { modelId: packed.manifest.modelId, config: model, tokenizer, forward };
  const onPackProgress = hooks.onDraftPackProgress;
  const draftHooks = { ...hooks, onPackProgress: (progress: PackProgress) => onPackProgress?.(progress) };
  const draftModel = await openDraftModel(config, served, draftHooks);
  if (draftModel) closeLater(draftModel.engine);
  const modelDrafter = draftModel && new DraftModelEngine({ engine: draftModel.engine });
  const drafter = modelDrafter ?? (forward.head && headDrafter(forward.head));
  const norms = new NormLimits();
  const onLoaded: ExpertThreadOptions['onLoaded'] = (...[layer, expert, found]) =>
    norms.learn(layer, expert, packed.manifest.shape.activation, found);
  const start = { options: config, choice: localLayers, mtpLayer: mtpLayerOf(model), onLoaded, onDamage, events };
  const localExperts = closeLater(startLocalExperts(packed, start));
  await localExperts.load(hooks.onLoadProgress);

  const loaded = {
    config,
    packed,
    health,
    model,
    forward,
    drafter,
    localLayers,
    localExperts,
    events,
    settings,
    bans,
    timeline,
  };
  const trust = newTrust(loaded, norms, quarantine);
  const counters = (layers: readonly number[]) => dispatcher.figures.expertCounters(layers);
  const cluster = await hooks.joinCluster?.({ packed, events, records, layers: swarmLayers(loaded) });
  const swarm = closeLater(newSwarm(loaded, trust, { adapterShards: adapters.shards, counters, cluster }));
  records?.watch(trust);
  const contributions = closeLater(
    new Contributions({ swarm, records, hasCredit: () => settings.get('creditPriority') }),
  );
  const dispatcher = newDispatcher(loaded, trust, swarm, hooks.onLap);
  const requests = new RequestBook();
  const scheduler = newScheduler(loaded, dispatcher, eosTokenIds, requests);
  const encoder = model.encoder && newEncoder(loaded, dispatcher, scheduler, requests);
  // The KV cache of kept prefixes may contain wrong results.
  trust.events.on('wrong', () => scheduler.forgetPrefixes());
  health.start(packed);
  const { work } = localExperts;
  const parts = { config, packed, forward, local: localExperts.work.audits, scheduler, swarm };
  const lab = model.seq2seq ? undefined : openLab(parts);
  const convention = conventionOf(config, tokenizer);
  const endIds = [
    ...(eosTokenIds ?? model.eosTokenIds),
    ...convention.stopTokens.flatMap((text) => tokenizer.idOf(text) ?? []),
  ];
  const grammars = closeLater(new Grammars({ vocabulary: vocabularyOf(tokenizer, model.vocabSize, endIds) }));
  const core = {
    forward,
    head,
    settings,
    bans,
    draftModel: draftModel && modelDrafter && { ...draftModel, kvBytes: () => modelDrafter.kvBytes },
    scheduler,
    encoder,
    requests,
    dispatcher,
    swarm,
    trust,
    events,
    records,
    contributions,
    packed,
    hubName,
    health,
    tokenizer,
    texts,
    convention,
    grammars,
    adapters,
    work,
    lab,
    localLayers,
  };
  return { config: model, ...core };
}

function conventionOf({ convention }: Config, { chatTemplate }: Tokenizer): Convention {
  const markup = { template: chatTemplate?.source, traits: chatTemplate?.traits };
  if (convention === 'auto') return chooseConvention(markup);
  if (CONVENTION_NAMES.includes(convention)) return conventionByName(convention, markup);
  throw new UsageError(
    `--convention ${convention}: there is none of this name; use auto or one of ${CONVENTION_NAMES.join(', ')}`,
  );
}

/** The dense engine, and the layers to hold locally, which are decided before anything large is loaded. */
async function openDense(config: Config, packed: PackedModel, hubName: string | undefined, hooks: CoreHooks) {
  const opened = await openPackedModel(packed);
  try {
    const { reader, dense } = opened;
    const model = opened.config.encoder ? await withEncoderLimit(packed.dir, opened.config) : opened.config;
    checkOptionsFor(model, config);
    const localLayers = localLayersOf(config, model, packed.manifest);
    const { engine, threads, kvMemoryBytes: kvBytes } = config;
    const target = { modelId: packed.manifest.modelId, hubName, config: model };
    const head = await openDraftHead(config, target, hooks);
    const adapterBytes = adapterBytesOf(config);
    try {
      const weights = { config: model, engine, reader, packed: dense, threads, kvBytes };
      const forward = await openDenseEngine({ ...weights, head, adapterBytes });
      return { model, forward, localLayers, head: head && { name: head.name } };
    } finally {
      await head?.close();
    }
  } finally {
    await opened.close();
  }
}

function newTrust(
  { packed, model, forward, localExperts: { work }, events }: Loaded,
  norms: NormLimits,
  quarantine: Quarantine,
): Trust {
  return new Trust({
    quarantine,
    local: work.audits,
    recheck: work.rechecks,
    norms,
    modelDigest: packed.manifest.modelDigest,
    numExpertsPerTok: model.numExpertsPerTok,
    normGain: (layer) => forward.expertNormGain(layer),
    onError: (error) => logError(events, `An audit was not possible: ${error}`),
  });
}

function newDispatcher(
  { config, model, localExperts: { work, localLayers }, events, timeline }: Loaded,
  trust: Trust,
  swarm: Swarm,
  onLap: CoreHooks['onLap'] = () => {},
): Dispatcher {
  const { hiddenSize, nRoutedExperts, numExpertsPerTok } = model;
  return new Dispatcher({
    hiddenSize,
    nRoutedExperts,
    numExpertsPerTok,
    rowFormat: config.rowFormat,
    local: work.laps,
    localLayers,
    mtpLayer: mtpLayerOf(model),
    peers: () => swarm.serving(),
    onDispatch: (work, finite) => {
      trust.note(work, finite);
      swarm.guests?.links.work();
    },
    onRedispatch: (event) =>
      events.add({ level: 'warning', kind: 'lap', text: redispatchText(event), peerId: event.peerId }),
    onLap,
    timeline,
  });
}

const MICRO_BATCHES: Readonly<Record<Config['halfBatches'], SchedulerLimits['microBatches']>> = {
  auto: 'auto',
  on: 2,
  off: 1,
};

function newScheduler(
  loaded: Loaded,
  experts: Dispatcher,
  eosTokenIds: readonly number[] | undefined,
  requests: RequestBook,
): Scheduler {
  const { config, packed, model, forward, localLayers, events, timeline } = loaded;
  const { maxBatch, maxQueue, promptLaps, deviceLimit, halfBatches } = config;
  return new Scheduler({
    modelId: packed.manifest.modelId,
    forward,
    eosTokenIds,
    experts,
    speculation: speculationOptions(loaded),
    lapsPerPass: lapsPerPass(model, localLayers),
    timeline,
    limits: { maxBatch, maxQueue, promptLaps, deviceLimit, microBatches: MICRO_BATCHES[halfBatches] },
    onRequest: (kind, sequence, error) => {
      if (kind === 'failed') events.add(failedRequest(sequence.request.id, error));
      if (kind !== 'submitted') requests.answered(kind, sequence, error, packed.manifest.modelId, performance.now());
    },
  });
}

function newEncoder(
  { config, packed, forward, events, timeline }: Loaded,
  experts: Dispatcher,
  scheduler: Scheduler,
  requests: RequestBook,
) {
  const { maxQueue, halfBatches } = config;
  return new EncoderScheduler({
    forward,
    experts,
    occupancy: scheduler.occupancy,
    timeline,
    limits: { maxQueue, maxPasses: halfBatches === 'off' ? 1 : 2 },
    onRequest: (kind, job, error) => {
      if (kind === 'failed') events.add(failedRequest(job.id, error));
      if (kind !== 'submitted') requests.embedded(kind, job, error, packed.manifest.modelId, performance.now());
    },
  });
}

function failedRequest(id: string, error: Error | undefined): Parameters<EventLog['add']>[0] {
  return { level: 'error', kind: 'request', text: `Request ${id} failed: ${error?.message}` };
}

function speculationOptions({ config, model, drafter, localLayers, events }: Loaded) {
  return {
    mode: model.seq2seq ? 'off' : config.speculate,
    maxDrafts: config.maxDrafts,
    engine: drafter,
    hasMtpExperts: localLayers.mtp !== 'off',
    lapsPerDraft: localLayers.mtp === 'tabs' ? 1 : 0,
    onFailure: (error: unknown) =>
      events.add({ level: 'warning', kind: 'server', text: `Drafting failed; passes run without drafts: ${error}` }),
  };
}

function logError(events: EventLog, text: string): void {
  events.add({ level: 'error', kind: 'server', text });
}
