import {
  answerOf,
  type Assignments,
  type ForwardEngine,
  type ForwardResult,
  GATES,
  type GateLayer,
  type GateName,
  ModelError,
  moeLayers,
  openGate,
  randomHashTable,
  type SequenceCache,
  slotsPerSequence,
  type Slots,
} from '@shoal/model';
import {
  LAB_MAX_TOKENS,
  type LabFacts,
  type LabLayer,
  type LabRequest,
  type LabStudy,
  OWN_GATE,
} from '@shoal/protocol';
import type { LocalCompute } from '../local-experts/local-compute.ts';
import { type Holders, layerOf } from './figures.ts';
import { labGates, ownGateName, ownSettings, refusalOf, withDefaults } from './gate-forms.ts';
import { LabError } from './lab-error.ts';
import { type StudyGate, StudyExperts } from './study-experts.ts';

export interface LabOptions {
  modelId: string;
  forward: ForwardEngine;
  /** Computes experts after all that answers wait for. */
  local: LocalCompute;
  /** The cache of a sequence outside the batch, which the lab frees; undefined while there is no room. */
  openSequence: (positions: number) => SequenceCache | undefined;
  /** The tabs that serve now, and where the experts of a layer are. */
  tabs: () => Tabs;
  /** Bytes of a row on the wire. */
  rowBytes: number;
  /** From a study's turn to its end; STUDY_TIMEOUT_MS by default. */
  timeoutMs?: number;
}

/** The lab as the HTTP server uses it. */
export type LabService = Pick<Lab, 'facts' | 'study'>;

/** Who asks for a study. */
export interface StudyClient {
  /** Whose share of the lab it uses. */
  client: string;
  /** Names a token. */
  textOf: (id: number) => string;
  signal: AbortSignal;
}

/** What one study runs with. */
interface Study {
  ids: readonly number[];
  gate: GateName | undefined;
  settings: Record<string, number | boolean | string>;
  lookUps: Pick<GateLayer, 'vocabSize' | 'hashTable'>;
  tabs: Tabs;
  layers: LabLayer[];
}

/** Tabs, and which of them hold the experts of a layer. */
export interface Tabs {
  count: number;
  holders(layer: number): Holders;
}

/** The default model takes 50 ms for 256 tokens. One whose experts take a thousand times as long still ends in time. */
const STUDY_TIMEOUT_MS = 60_000;
/** Studies that run or wait, and those of one client. The page asks for one at a time. */
const MAX_STUDIES = 5;
const MAX_OF_CLIENT = 2;
/** Multiplications of one layer that mix rows into slots on the main thread, about 20 ms. */
const MAX_MIXING = 1 << 24;
/** Shares of slots that one answer has, in all layers. */
const MAX_SHARES = 1 << 19;
/** Of the random table that stands in for a learned one. */
const HASH_SEED = 1;

/**
 * Runs the model over a text with its own gate or another in its place, and tells what the gate has chosen (`/lab`). One text at a
 * time, in one pass, beside the passes of answers; its experts are computed by the coordinator, and no tab is asked.
 */
export class Lab {
  readonly #options: LabOptions;
  readonly #gates;
  #turn: Promise<unknown> = Promise.resolve();
  /** The clients of the studies that run or wait. */
  readonly #clients: string[] = [];

  constructor(options: LabOptions) {
    this.#options = options;
    this.#gates = labGates(options.forward.config);
  }

  facts(): LabFacts {
    const { modelId, forward, tabs } = this.#options;
    const { config } = forward;
    const refusal = refusalOf(config);
    return {
      model: modelId,
      own: { title: GATES[ownGateName(config)].title, settings: ownSettings(config) },
      layers: moeLayers(config),
      experts: config.nRoutedExperts,
      expertsPerToken: config.numExpertsPerTok,
      tabs: tabs().count,
      maxTokens: Math.min(LAB_MAX_TOKENS, config.maxPositionEmbeddings),
      gates: this.#gates,
      ...(refusal !== undefined && { refusal }),
    };
  }

  /** Rejects with a LabError, or with the signal's reason. */
  async study(request: LabRequest, ids: readonly number[], { client, textOf, signal }: StudyClient): Promise<LabStudy> {
    const study = this.#prepare(request, ids);
    this.#refuseBusy(client);
    this.#clients.push(client);
    const before = this.#turn;
    const turn = before.then(() => this.#run(study, signal));
    this.#turn = turn.catch(() => {});
    try {
      const nll = await turn;
      return this.#answer(study, request, nll, textOf);
    } finally {
      this.#clients.splice(this.#clients.indexOf(client), 1);
    }
  }

  #refuseBusy(client: string): void {
    const own = this.#clients.filter((other) => other === client).length;
    if (own >= MAX_OF_CLIENT) throw new LabError('busy', `${own} texts of yours are in the lab already.`);
    if (this.#clients.length < MAX_STUDIES) return;
    throw new LabError('busy', `${MAX_STUDIES} texts are in the lab already.`);
  }

  /** Checks what can be checked before the model runs. */
  #prepare({ gate: name, settings: sent, tabs: assumed }: LabRequest, ids: readonly number[]): Study {
    const { config } = this.#options.forward;
    const tabs = this.#tabs(assumed);
    const { maxTokens } = this.facts();
    if (ids.length === 0) throw new LabError('invalid', 'The text has no tokens.', 'text');
    if (ids.length > maxTokens) {
      throw new LabError('invalid', `The text has ${ids.length} tokens; send at most ${maxTokens}.`, 'text');
    }
    if (name === OWN_GATE) {
      const [extra] = Object.keys(sent);
      if (extra !== undefined) {
        throw new LabError('invalid', `${extra} can't be set: it is the model's own gate.`, `settings.${extra}`);
      }
      this.#refuseMixing(ids, slotsPerSequence(config));
      return { ids, gate: undefined, settings: ownSettings(config), lookUps: {}, tabs, layers: [] };
    }
    const refusal = refusalOf(config);
    if (refusal !== undefined) throw new LabError('invalid', refusal, 'gate');
    const gate = this.#gates.find((each) => each.name === name);
    if (!gate) {
      const names = this.#gates.map((each) => each.name).join(', ');
      throw new LabError('invalid', `There is no gate of this name; use ${OWN_GATE} or one of ${names}.`, 'gate');
    }
    const unknown = Object.keys(sent).find((key) => !gate.settings.some((setting) => setting.name === key));
    if (unknown !== undefined) {
      const names = gate.settings.map((setting) => setting.name).join(', ') || 'none';
      const problem = `${unknown.slice(0, 64)} is no setting of this gate in the lab; there are: ${names}.`;
      throw new LabError('invalid', problem, `settings.${unknown}`);
    }
    const settings = withDefaults(name as GateName, config, sent);
    const study = { ids, gate: name as GateName, settings, lookUps: this.#lookUps(settings), tabs, layers: [] };
    this.#tryGate(study);
    return study;
  }

  /** Opens the gate once, since its settings may be wrong. */
  #tryGate({ gate, settings, lookUps, ids }: Study): void {
    const { config } = this.#options.forward;
    const layer = { layer: 0, numExperts: config.nRoutedExperts, ...lookUps, holders: () => [] };
    try {
      openGate(gate!, settings, layer);
    } catch (error) {
      throw error instanceof ModelError ? new LabError('invalid', error.message, `settings.${error.key}`) : error;
    }
    this.#refuseMixing(ids, gate === 'soft' ? config.nRoutedExperts : undefined);
  }

  /** Refuses a text that would take long to mix into so many slots, or whose shares would make a large answer. */
  #refuseMixing(ids: readonly number[], slots: number | undefined): void {
    if (slots === undefined) return;
    const { config } = this.#options.forward;
    const mostByTime = Math.floor(MAX_MIXING / (slots * config.hiddenSize));
    const mostByShares = Math.floor(MAX_SHARES / (2 * slots * moeLayers(config).length));
    const most = Math.min(mostByTime, mostByShares);
    if (ids.length <= most) return;
    const problem = `${slots} slots of this model take texts of up to ${most} tokens, and this one has ${ids.length}`;
    throw new LabError('invalid', `${problem}. Shorten it.`, 'text');
  }

  /** A random table of the tokens' experts, for gates that look them up, since the model has none. */
  #lookUps({ k }: Study['settings']): Study['lookUps'] {
    const { vocabSize, nRoutedExperts } = this.#options.forward.config;
    const count = Number(k);
    if (!Number.isInteger(count) || count < 1 || count > nRoutedExperts) return { vocabSize };
    return { vocabSize, hashTable: randomHashTable(count, nRoutedExperts, vocabSize, HASH_SEED) };
  }

  /** One pass over the text; returns the mean −ln p of its tokens, or null of an encoder. */
  async #run(study: Study, hangUp: AbortSignal): Promise<number | null> {
    hangUp.throwIfAborted();
    const { forward, local, timeoutMs = STUDY_TIMEOUT_MS } = this.#options;
    const { hiddenSize, nRoutedExperts: numExperts } = forward.config;
    const { ids } = study;
    const timeout = AbortSignal.timeout(timeoutMs);
    const experts = new StudyExperts({
      hiddenSize,
      numExperts,
      tokenIds: ids,
      gate: gateOf(study),
      layerFacts: (layer) => ({ ...study.lookUps, holders: study.tabs.holders(layer) }),
      local,
      onLayer: (layer, choice) => study.layers.push(this.#layerOf(layer, choice, study.tabs.holders(layer))),
      signal: AbortSignal.any([hangUp, timeout]),
    });
    try {
      if (!forward.config.encoder) return await this.#continue(ids, experts);
      await forward.encode!([ids], experts, experts.observer);
      return null;
    } catch (error) {
      if (!timeout.aborted || hangUp.aborted) throw error;
      const problem = `The text took longer than ${timeoutMs / 1000} s`;
      throw new LabError('timeout', `${problem}. Shorten it, or ask again when there is less to do.`);
    }
  }

  /** The text through a model that makes text. */
  async #continue(ids: readonly number[], experts: StudyExperts): Promise<number | null> {
    const { forward, openSequence } = this.#options;
    const cache = openSequence(ids.length);
    if (!cache) throw new LabError('busy', 'The KV cache has no room beside the answers that are written now.');
    try {
      const rows = ids.map((tokenId, position) => {
        const next = ids[position + 1];
        return { tokenId, position, cache, ...(next !== undefined && { query: { token: next, topLogprobs: 0 } }) };
      });
      return meanNll((await forward.forward(rows, experts, experts.observer)).answers);
    } finally {
      cache.free();
    }
  }

  #layerOf(layer: number, choice: Assignments | Slots, holders: Holders): LabLayer {
    const { forward, rowBytes } = this.#options;
    return layerOf(layer, choice, forward.config.nRoutedExperts, holders, rowBytes);
  }

  #tabs(assumed: LabRequest['tabs']): Tabs {
    if (assumed == null) return this.#options.tabs();
    const { nRoutedExperts } = this.#options.forward.config;
    return { count: assumed, holders: () => (expert) => [Math.floor((expert * assumed) / nRoutedExperts)] };
  }

  #answer(study: Study, request: LabRequest, nll: number | null, textOf: (id: number) => string): LabStudy {
    const { modelId, forward } = this.#options;
    const { gate, settings, ids, tabs, layers } = study;
    return {
      model: modelId,
      gate: gate ?? OWN_GATE,
      title: GATES[gate ?? ownGateName(forward.config)].title,
      isOwn: gate === undefined,
      settings,
      tokens: ids.map((id) => ({ id, text: textOf(id) })),
      experts: forward.config.nRoutedExperts,
      nll,
      tabs: tabs.count,
      tabsAreAssumed: request.tabs != null,
      layers,
    };
  }
}

function gateOf({ gate, settings }: Study): StudyGate | undefined {
  return gate && ((layer) => openGate(gate, settings, layer));
}

/** Of all tokens but the first; null where there is no other. */
function meanNll(answers: ForwardResult['answers']): number | null {
  const asked = answers.length - 1;
  if (asked < 1) return null;
  let nll = 0;
  for (let row = 0; row < asked; row++) nll -= answerOf(answers, row).logprob!;
  return nll / asked;
}
