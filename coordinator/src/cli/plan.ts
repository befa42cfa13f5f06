import { expertLayers, type ModelConfig } from '@shoal/model';
import { PLEDGE_FILL } from '@shoal/placement';
import { chooseFormats, type Formats, type Quant, type WantedFormats } from '@shoal/weights';
import { integer, SIZE, SWITCH, TIME } from '../base/option-values.ts';
import { option, type OptionValues } from '../base/options.ts';
import { CONFIG_OPTIONS, MODEL } from '../config.ts';
import { measureBandwidth, type PlanInput, planServing, type ServingPlan } from './capacity.ts';
import { command, type CommandIo } from './command.ts';
import { refuseDense } from '../packed-model.ts';
import {
  type HubWeights,
  type PlannedModel,
  readDraftModel,
  readPlannedHead,
  readPlannedModel,
} from './planned-model.ts';
import { formatBytes } from './progress.ts';

const DEFAULT_CONTEXT = 4096;

const OPTIONS = {
  model: option('model', MODEL, {
    required: true,
    help: 'ORG/NAME[@REVISION] of a hub, a Hugging Face directory, one made by shoal pack, a *.gguf file, or a config.json',
  }),
  offline: CONFIG_OPTIONS.offline,
  tabBytes: option('tab-memory', SIZE, {
    default: '1GiB',
    help: `what each tab lends, as 1GiB; ${100 * PLEDGE_FILL} % of it holds experts`,
  }),
  quant: CONFIG_OPTIONS.quant,
  denseQuant: CONFIG_OPTIONS.denseQuant,
  replicas: option('replicas', integer(1), { default: '1', help: 'copies of each expert, in different tabs' }),
  rttMs: option('rtt', TIME, { default: '20ms', help: 'round trip between coordinator and tabs' }),
  context: option('context', integer(1), {
    defaultText: `${DEFAULT_CONTEXT}, or the model's own limit where that is less`,
    help: 'tokens of one sequence, for its KV cache',
  }),
  bandwidth: option('bandwidth', SIZE, {
    defaultText: 'measured here, one thread',
    help: 'bytes that the coordinator reads from its memory per second, as 20GB',
  }),
  drafter: CONFIG_OPTIONS.drafter,
  draftModel: CONFIG_OPTIONS.draftModel,
  draftQuant: CONFIG_OPTIONS.draftQuant,
  json: option('json', SWITCH, { help: 'print one JSON document' }),
};

type PlanOptions = OptionValues<typeof OPTIONS>;

export const runPlan = command({
  name: 'plan',
  usage: ['--model MODEL [options]'],
  about: `
Prints what it takes to serve a model: memory of the coordinator, number of tabs, download of each, laps and bytes per token,
and what bounds the speed. Reads (and fetches) only the config, the index and the tokenizer, so the weights need not be there; of weights that are, the headers.`,
  options: OPTIONS,
  run: async (options, io) => {
    const model = await readPlannedModel(options, io);
    const { config } = model;
    refuseDense(config, options.model);
    const draft = await draftModelOf(options, config, io);
    const { drafter, offline } = options;
    const head = drafter === undefined ? undefined : await readPlannedHead({ drafter, offline }, config, io);
    const { tabBytes, replicas, rttMs } = options;
    const input = {
      config,
      ...formatsOf(model, options),
      tabBytes,
      replicas,
      rttMs,
      contextTokens: options.context ?? Math.min(DEFAULT_CONTEXT, config.maxPositionEmbeddings),
      bandwidthBytesPerS: options.bandwidth ?? measureBandwidth(),
      draftModel: draft?.config,
      draftQuant: options.draftQuant ?? draft?.own?.denseQuant,
      head,
    };
    const { weights: hub, tokenizerProblem } = model;
    const plan = { ...planServing(input), packedBytes: packedBytes(input), hub, tokenizerProblem };
    if (options.json) io.stdout.write(`${JSON.stringify(plan, null, 2)}\n`);
    else io.stdout.write(`${describe(plan, options).join('\n')}\n`);
  },
});

async function draftModelOf(
  { model: modelId, draftModel: model, offline }: PlanOptions,
  config: ModelConfig,
  io: CommandIo,
): Promise<PlannedModel | undefined> {
  return model === undefined ? undefined : readDraftModel({ model, offline }, { modelId, config }, io);
}

/** The formats that `shoal serve` would choose. */
export function formatsOf({ config, own }: PlannedModel, { quant, denseQuant }: WantedFormats): Formats {
  const isOpen = (format: string | undefined): boolean => format === undefined || format === 'auto';
  return chooseFormats(config, {
    quant: own && isOpen(quant) ? own.quant : quant,
    denseQuant: own && isOpen(denseQuant) ? own.denseQuant : denseQuant,
  });
}

/** Formats of the experts that most people choose from. */
const USUAL_QUANTS = ['q4', 'q8', 'f16'] as const;

/** Bytes on disk of the packed model, by the experts' format. */
function packedBytes(input: PlanInput): Partial<Record<Quant, number>> {
  const { config } = input;
  const experts = expertLayers(config).length * config.nRoutedExperts;
  const sizes = [...new Set([input.quant, ...USUAL_QUANTS])].map((quant) => {
    const { expertBytes, coordinator } = planServing({ ...input, quant, tabBytes: Number.MAX_SAFE_INTEGER });
    return [quant, experts * expertBytes + coordinator.weightsBytes] as const;
  });
  return Object.fromEntries(sizes);
}

const rate = (perSecond: number): string => `${perSecond.toPrecision(3)} tokens/s`;

interface ShownPlan extends ServingPlan {
  packedBytes: Partial<Record<Quant, number>>;
  hub: HubWeights | undefined;
  tokenizerProblem: string | undefined;
}

function describe(plan: ShownPlan, options: PlanOptions): string[] {
  const { coordinator, tabs } = plan;
  const whole =
    tabs.count === tabs.countByBytes
      ? ''
      : ` (${tabs.countByBytes} by bytes alone: ${(tabs.usableBytesPerTab / plan.expertBytes).toFixed(1)} experts would fit into each, and ${tabs.expertsPerTab} whole ones do)`;
  // An encoder's pass embeds whole texts: nothing is generated one by one.
  const isEncoder = coordinator.kvBytesPerToken === 0;
  const unit = isEncoder ? 'pass' : 'token';
  return [
    `In short      ${tabs.count} ${tabs.count === 1 ? 'tab' : 'tabs'} of ${formatBytes(options.tabBytes)}, ${formatBytes(coordinator.memoryBytes)} here, ${plan.lapsPerToken} laps a ${unit}`,
    ...(plan.tokenizerProblem === undefined
      ? []
      : [`Tokenizer     cannot be read, so the model cannot be served: ${plan.tokenizerProblem}`]),
    ...describeDisk(plan),
    `Experts       ${plan.moeLayers} layers of ${plan.expertsPerLayer}, ${perRow(plan)}; ${formatBytes(plan.expertBytes)} each, ${formatBytes(plan.allExpertsBytes)} in total`,
    `Coordinator   ${formatBytes(coordinator.weightsBytes)} of weights (${(coordinator.parameters / 1e9).toPrecision(3)} B parameters), ` +
      (isEncoder
        ? 'and no KV cache, since it is an encoder'
        : `${coordinator.kvBytesPerToken} B of KV cache per token: ${formatBytes(coordinator.kvBytesAtContext)} for a sequence of ${coordinator.contextTokens}`),
    `              ${formatBytes(coordinator.loadedExpertBytes)} of experts kept loaded (--expert-memory), ${formatBytes(coordinator.processBytes)} for the rest of the process`,
    ...describeDraftModel(plan),
    ...describeHead(plan),
    ...(plan.mtpExperts === undefined || plan.draftModel || plan.head
      ? []
      : [
          `Drafts        experts of the MTP module (${formatBytes(plan.localExperts.layerBytes)}) are ` +
            (plan.mtpExperts === 'tabs' ? 'on tabs, as one more layer' : "in the coordinator's memory"),
        ]),
    `Tabs          ${tabs.count} that lend ${formatBytes(options.tabBytes)}${whole}, copies of each expert: ${options.replicas} (serve makes ${CONFIG_OPTIONS.replicas.default} where memory allows)`,
    `Download      ${formatBytes(tabs.downloadBytesPerTab)} for each tab (${tabs.expertsPerTab} experts), once`,
    `Each ${unit.padEnd(9)}${plan.lapsPerToken} laps; ${isEncoder ? `for each ${plan.slotsPerText === undefined ? 'token' : 'slot'} ` : ''}at least ${(plan.floorBytesPerToken / 1e6).toFixed(2)} MB both ways (rows of ${plan.rowBytes} B, one tab in each lap)`,
    ...(isEncoder ? [] : speed(plan, options)),
  ];
}

/** What the experts of a layer get. */
function perRow({ expertsPerToken, slotsPerText }: ServingPlan): string {
  return slotsPerText === undefined ? `${expertsPerToken} per token` : `which get ${slotsPerText} slots of a text`;
}

function speed(plan: ShownPlan, options: PlanOptions): string[] {
  const { ceilings } = plan;
  return [
    `Speed         at most ${rate(ceilings.both)} for one stream: ${rate(ceilings.roundTrip)} by round trips of ${options.rttMs} ms, ` +
      `${rate(ceilings.bandwidth)} by reading ${formatBytes(ceilings.weightsReadPerToken)} of weights; streams share laps`,
    ...describeLocalExperts(plan),
  ];
}

function describeDraftModel({ draftModel }: ShownPlan): string[] {
  if (!draftModel) return [];
  const { format, weightsBytes, parameters, kvBytesPerToken, kvBytesAtContext, contextTokens } = draftModel;
  return [
    `Draft model   ${formatBytes(weightsBytes)} of weights as ${format} (${(parameters / 1e9).toPrecision(3)} B parameters), which each draft reads, ` +
      `${kvBytesPerToken} B of KV cache per token: ${formatBytes(kvBytesAtContext)} for a sequence of ${contextTokens}`,
  ];
}

const HEAD_NAMES = { eagle3: 'EAGLE-3', dflash: 'DFlash' } as const;

function describeHead({ head }: ShownPlan): string[] {
  if (!head) return [];
  const { kind, weightsBytes, parameters, kvBytesPerToken, kvBytesAtContext, contextTokens } = head;
  return [
    `Head          ${HEAD_NAMES[kind]}: ${formatBytes(weightsBytes)} of weights (${(parameters / 1e9).toPrecision(3)} B parameters), ` +
      `${kvBytesPerToken} B of KV cache per token: ${formatBytes(kvBytesAtContext)} for a sequence of ${contextTokens}`,
  ];
}

function describeDisk({ hub, packedBytes }: ShownPlan): string[] {
  const sizes = Object.entries(packedBytes).map(([quant, bytes]) => `${formatBytes(bytes)} with ${quant} experts`);
  const packed = `Packed        ${sizes.join(', ')}`;
  if (!hub) return [packed];
  const { files, totalBytes, missingBytes } = hub;
  const missing = missingBytes === totalBytes ? '' : `, of which ${formatBytes(missingBytes)} are not here yet`;
  return [
    `To fetch      ${formatBytes(totalBytes)} in ${files} ${files === 1 ? 'file' : 'files'}${missing}; each is dropped when it is packed`,
    packed,
  ];
}

function describeLocalExperts({ localExperts, expertsPerToken, expertBytes, ceilings }: ServingPlan): string[] {
  const { layerBytes, steps } = localExperts;
  const lines = steps.map(({ localBytes, layers, mtp, lapsPerToken, tabs, tokensPerSecond }) => {
    const drafter = mtp === 'local' ? "the MTP module's and " : '';
    const gain = (100 * (tokensPerSecond / ceilings.both - 1)).toFixed(0);
    return (
      `  ${formatBytes(localBytes).padStart(10)}  holds ${drafter}${layers} ${layers === 1 ? 'layer' : 'layers'}: ` +
      `${lapsPerToken} laps, ${tabs} ${tabs === 1 ? 'tab' : 'tabs'}, at most ${rate(tokensPerSecond)} (${gain.startsWith('-') ? gain : `+${gain}`} %)`
    );
  });
  return [
    `Local experts --local-experts takes whole layers of ${formatBytes(layerBytes)}: they make no lap, but each token reads ` +
      `${formatBytes(expertsPerToken * expertBytes)} more in each`,
    ...lines,
  ];
}
