import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expertLayers, type ModelConfig, parseModelConfig, withoutMtp } from '@shoal/model';
import { readModelConfig } from '@shoal/model/node';
import { PLEDGE_FILL } from '@shoal/placement';
import { chooseFormats, type Formats, parseManifest, type Quant, type WantedFormats } from '@shoal/weights';
import { HubSource, isPackedDir } from '@shoal/weights/node';
import { integer, SIZE, SWITCH, TIME } from '../base/option-values.ts';
import { option, type OptionValues } from '../base/options.ts';
import { CONFIG_OPTIONS, MODEL } from '../config.ts';
import { measureBandwidth, type PlanInput, planServing, type ServingPlan } from './capacity.ts';
import { command, type CommandIo } from './command.ts';
import { openModelOption } from './model-option.ts';
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
  quant: { ...CONFIG_OPTIONS.quant, defaultText: "auto, or a packed directory's own" },
  denseQuant: { ...CONFIG_OPTIONS.denseQuant, defaultText: "auto, or a packed directory's own" },
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
  json: option('json', SWITCH, { help: 'print one JSON document' }),
};

type PlanOptions = OptionValues<typeof OPTIONS>;

export const runPlan = command({
  name: 'plan',
  usage: ['--model MODEL [options]'],
  about: `
Prints what it takes to serve a model: memory of the coordinator, number of tabs, download of each, laps and bytes per token,
and what bounds the speed. Reads (and fetches) only the config and the index, so the weights need not be there.`,
  options: OPTIONS,
  run: async (options, io) => {
    const model = await readModel(options, io);
    const { config } = model;
    const { tabBytes, replicas, rttMs } = options;
    const input = {
      config,
      ...formatsOf(model, options),
      tabBytes,
      replicas,
      rttMs,
      contextTokens: options.context ?? Math.min(DEFAULT_CONTEXT, config.maxPositionEmbeddings),
      bandwidthBytesPerS: options.bandwidth ?? measureBandwidth(),
    };
    const plan = { ...planServing(input), packedBytes: packedBytes(input), hub: model.weights };
    if (options.json) io.stdout.write(`${JSON.stringify(plan, null, 2)}\n`);
    else io.stdout.write(`${describe(plan, options).join('\n')}\n`);
  },
});

interface ModelToPlan {
  config: ModelConfig;
  /** Those of a packed model. */
  own?: Formats;
  /** What a hub has of it, and what of that is not here. */
  weights?: HubWeights;
}

type HubWeights = Awaited<ReturnType<HubSource['weights']>>;

function formatsOf({ config, own }: ModelToPlan, { quant = 'auto', denseQuant = 'auto' }: WantedFormats): Formats {
  return chooseFormats(config, {
    quant: quant === 'auto' && own ? own.quant : quant,
    denseQuant: denseQuant === 'auto' && own ? own.denseQuant : denseQuant,
  });
}

/** Reads a model of any kind, or a bare config. Only an index or a manifest shows whether there is an MTP module. */
async function readModel(options: { model: string; offline: boolean }, io: CommandIo): Promise<ModelToPlan> {
  const { model } = options;
  if (model.endsWith('.json')) return { config: await readModelConfig(model) };
  const source = await openModelOption(options, io);
  const dir = await source.metaDir();
  if (dir === undefined) {
    const config = (await source.files()).find(({ name }) => name === 'config.json')!;
    return { config: parseModelConfig(JSON.parse(new TextDecoder().decode(config.bytes)), model) };
  }
  const config = await readModelConfig(join(dir, 'config.json'));
  if (await isPackedDir(dir)) {
    const manifestPath = join(dir, 'manifest.json');
    const manifest = parseManifest(await readFile(manifestPath, 'utf8'), manifestPath);
    const packed = manifest.numNextnPredictLayers === 0 ? withoutMtp(config) : config;
    return { config: packed, own: { quant: manifest.shape.quant, denseQuant: manifest.dense.format } };
  }
  const index = await readFile(join(dir, 'model.safetensors.index.json'), 'utf8').catch(() => undefined);
  const mtpPrefix = `"model.layers.${config.numHiddenLayers}.`;
  const asStored = index !== undefined && !index.includes(mtpPrefix) ? withoutMtp(config) : config;
  const weights = source instanceof HubSource ? await source.weights() : undefined;
  return { config: asStored, ...(weights && { weights }) };
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
}

function describe(plan: ShownPlan, options: PlanOptions): string[] {
  const { coordinator, tabs, ceilings } = plan;
  const whole =
    tabs.count === tabs.countByBytes
      ? ''
      : ` (${tabs.countByBytes} by bytes alone: ${(tabs.usableBytesPerTab / plan.expertBytes).toFixed(1)} experts would fit into each, and ${tabs.expertsPerTab} whole ones do)`;
  return [
    `In short      ${tabs.count} ${tabs.count === 1 ? 'tab' : 'tabs'} of ${formatBytes(options.tabBytes)}, ${formatBytes(coordinator.memoryBytes)} here, ${plan.lapsPerToken} laps a token`,
    ...describeDisk(plan),
    `Experts       ${plan.moeLayers} layers of ${plan.expertsPerLayer}, ${plan.expertsPerToken} per token; ${formatBytes(plan.expertBytes)} each, ${formatBytes(plan.allExpertsBytes)} in total`,
    `Coordinator   ${formatBytes(coordinator.weightsBytes)} of weights (${(coordinator.parameters / 1e9).toPrecision(3)} B parameters), ` +
      `${coordinator.kvBytesPerToken} B of KV cache per token: ${formatBytes(coordinator.kvBytesAtContext)} for a sequence of ${coordinator.contextTokens}`,
    `              ${formatBytes(coordinator.loadedExpertBytes)} of experts kept loaded (--expert-memory), ${formatBytes(coordinator.processBytes)} for the rest of the process`,
    ...(plan.mtpExperts === undefined
      ? []
      : [
          `Drafts        experts of the MTP module (${formatBytes(plan.localExperts.layerBytes)}) are ` +
            (plan.mtpExperts === 'tabs' ? 'on tabs, as one more layer' : "in the coordinator's memory"),
        ]),
    `Tabs          ${tabs.count} that lend ${formatBytes(options.tabBytes)}${whole}, copies of each expert: ${options.replicas}`,
    `Download      ${formatBytes(tabs.downloadBytesPerTab)} for each tab (${tabs.expertsPerTab} experts), once`,
    `Each token    ${plan.lapsPerToken} laps; at least ${(plan.floorBytesPerToken / 1e6).toFixed(2)} MB both ways (rows of ${plan.rowBytes} B, one tab in each lap)`,
    `Speed         at most ${rate(ceilings.both)} for one stream: ${rate(ceilings.roundTrip)} by round trips of ${options.rttMs} ms, ` +
      `${rate(ceilings.bandwidth)} by reading ${formatBytes(ceilings.weightsReadPerToken)} of weights; streams share laps`,
    ...describeLocalExperts(plan),
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
