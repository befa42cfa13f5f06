import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type ModelConfig, parseModelConfig, withoutMtp } from '@shoal/model';
import { readJson } from '@shoal/model/node';
import { PLEDGE_FILL } from '@shoal/placement';
import { DENSE_FORMATS, type DenseFormat, parseManifest, QUANTS, type Quant } from '@shoal/weights';
import { isPackedDir } from '@shoal/weights/node';
import { parseBytes } from '../config.ts';
import { measureBandwidth, planServing, type ServingPlan } from './capacity.ts';
import { type CommandIo, formatBytes } from './progress.ts';

const HELP = `shoal plan --model DIR --tab-memory SIZE [options]

What it takes to serve a model: memory of the coordinator, number of tabs, download of each, laps and bytes per token, and what
bounds the speed. Reads the config (and the index) alone, no weights: they need not be there.

  --model DIR          a Hugging Face model directory, one made by shoal pack, or a config.json
  --tab-memory SIZE    what each tab lends, as 1GiB; ${100 * PLEDGE_FILL} % of it holds experts
  --quant KIND         of the experts: ${QUANTS.join(', ')} (q4, or a packed directory's own)
  --dense-quant KIND   of the coordinator's own weights: ${DENSE_FORMATS.join(', ')} (q8, or a packed directory's own)
  --replicas N         copies of each expert, in different tabs (1)
  --rtt TIME           round trip between coordinator and tabs, as 20ms (20ms)
  --context N          tokens of one sequence, for its KV cache (4096, or the model's own limit where that is less)
  --bandwidth SIZE     bytes that the coordinator reads from its memory each second, as 20GB (measured here, one thread)
  --json               print one JSON document
  --help               print this
`;

const EXIT_USAGE = 2;
const DEFAULT_CONTEXT = 4096;

/** `shoal plan`. Resolves with the exit code: 0, 1 failed, 2 wrong usage. */
export async function runPlan(argv: readonly string[], io: CommandIo): Promise<number> {
  const command = parseCommand(argv, io);
  if (typeof command === 'number') return command;
  try {
    const model = await readModel(command.model);
    const { config } = model;
    const plan = planServing({
      config,
      quant: command.quant ?? model.quant,
      denseQuant: command.denseQuant ?? model.denseQuant,
      tabBytes: command.tabBytes,
      replicas: command.replicas,
      rttMs: command.rttMs,
      contextTokens: command.context ?? Math.min(DEFAULT_CONTEXT, config.maxPositionEmbeddings),
      bandwidthBytesPerS: command.bandwidth ?? measureBandwidth(),
    });
    if (command.json) io.stdout.write(`${JSON.stringify(plan, null, 2)}\n`);
    else io.stdout.write(`${describe(plan, command).join('\n')}\n`);
    return 0;
  } catch (error) {
    io.stderr.write(`shoal plan: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

interface PlanCommand {
  model: string;
  tabBytes: number;
  quant: Quant | undefined;
  denseQuant: DenseFormat | undefined;
  replicas: number;
  rttMs: number;
  context: number | undefined;
  bandwidth: number | undefined;
  json: boolean;
}

const text = { type: 'string' } as const;
const flag = { type: 'boolean', default: false } as const;

/** The command, or the exit code where there is nothing to do. */
function parseCommand(argv: readonly string[], io: CommandIo): PlanCommand | number {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        model: text,
        'tab-memory': text,
        quant: text,
        'dense-quant': text,
        replicas: text,
        rtt: text,
        context: text,
        bandwidth: text,
        json: flag,
        help: flag,
      },
    });
    if (values.help) {
      io.stdout.write(HELP);
      return 0;
    }
    if (!values.model) throw new Error('--model DIR is missing');
    if (!values['tab-memory']) throw new Error('--tab-memory SIZE is missing');
    return {
      model: values.model,
      tabBytes: bytes('--tab-memory', values['tab-memory']),
      quant: values.quant === undefined ? undefined : oneOf('--quant', QUANTS, values.quant),
      denseQuant:
        values['dense-quant'] === undefined ? undefined : oneOf('--dense-quant', DENSE_FORMATS, values['dense-quant']),
      replicas: count('--replicas', values.replicas ?? '1'),
      rttMs: milliseconds(values.rtt ?? '20ms'),
      context: values.context === undefined ? undefined : count('--context', values.context),
      bandwidth: values.bandwidth === undefined ? undefined : bytes('--bandwidth', values.bandwidth),
      json: values.json,
    };
  } catch (error) {
    io.stderr.write(`shoal plan: ${error instanceof Error ? error.message : String(error)}\nSee: shoal plan --help\n`);
    return EXIT_USAGE;
  }
}

function bytes(name: string, given: string): number {
  const parsed = parseBytes(given);
  if (parsed === undefined) throw new Error(`${name} takes a size as 512MiB or 4GiB, not "${given}"`);
  return parsed;
}

function count(name: string, given: string): number {
  if (!/^[1-9]\d{0,7}$/.test(given)) throw new Error(`${name} takes a whole number from 1 on, not "${given}"`);
  return Number(given);
}

function milliseconds(given: string): number {
  const parts = /^(\d+(?:\.\d+)?) ?(ms|s)$/.exec(given.trim());
  const value = parts ? Number(parts[1]) * (parts[2] === 's' ? 1000 : 1) : 0;
  if (!(value > 0)) throw new Error(`--rtt takes a time as 20ms or 0.1s, not "${given}"`);
  return value;
}

function oneOf<const T extends string>(name: string, allowed: readonly T[], given: string): T {
  const found = allowed.find((value) => value === given);
  if (found === undefined) throw new Error(`${name} takes ${allowed.join(', ')}, not "${given}"`);
  return found;
}

interface ModelToPlan {
  config: ModelConfig;
  quant: Quant;
  denseQuant: DenseFormat;
}

/** A directory of either kind, or a bare config. Whether an MTP module is there, only an index or a manifest can say. */
async function readModel(path: string): Promise<ModelToPlan> {
  const isFile = (await stat(path).catch(() => undefined))?.isFile() === true;
  const configPath = isFile ? path : join(path, 'config.json');
  const config = parseModelConfig(await readJson(configPath), configPath);
  const formats = { quant: 'q4', denseQuant: 'q8' } as const;
  if (isFile) return { config, ...formats };
  if (await isPackedDir(path)) {
    const manifestPath = join(path, 'manifest.json');
    const manifest = parseManifest(await readFile(manifestPath, 'utf8'), manifestPath);
    const packed = manifest.numNextnPredictLayers === 0 ? withoutMtp(config) : config;
    return { config: packed, quant: manifest.shape.quant, denseQuant: manifest.dense.format };
  }
  const index = await readFile(join(path, 'model.safetensors.index.json'), 'utf8').catch(() => undefined);
  const mtpPrefix = `"model.layers.${config.numHiddenLayers}.`;
  return { config: index !== undefined && !index.includes(mtpPrefix) ? withoutMtp(config) : config, ...formats };
}

const rate = (perSecond: number): string => `${perSecond.toPrecision(3)} tokens/s`;

function describe(plan: ServingPlan, command: PlanCommand): string[] {
  const { coordinator, tabs, ceilings } = plan;
  const whole =
    tabs.count === tabs.countByBytes
      ? ''
      : ` (${tabs.countByBytes} if experts could be divided: ${tabs.expertsPerTab} whole ones fit where ${(tabs.usableBytesPerTab / plan.expertBytes).toFixed(1)} would)`;
  return [
    `Experts       ${plan.moeLayers} layers of ${plan.expertsPerLayer}, ${plan.expertsPerToken} for a token; ${formatBytes(plan.expertBytes)} each, ${formatBytes(plan.allExpertsBytes)} in all`,
    `Coordinator   ${formatBytes(coordinator.weightsBytes)} of weights (${(coordinator.parameters / 1e9).toPrecision(3)} B parameters), ` +
      `${coordinator.kvBytesPerToken} B of KV cache a token: ${formatBytes(coordinator.kvBytesAtContext)} for a sequence of ${coordinator.contextTokens}`,
    ...(plan.mtpExperts === undefined
      ? []
      : [
          `Drafts        experts of the MTP module (${formatBytes(plan.localExperts.layerBytes)}) are ` +
            (plan.mtpExperts === 'tabs' ? 'on tabs, as one more layer' : "in the coordinator's memory"),
        ]),
    `Tabs          ${tabs.count} that lend ${formatBytes(command.tabBytes)}${whole}, copies of each expert: ${command.replicas}`,
    `Download      ${formatBytes(tabs.downloadBytesPerTab)} for each tab (${tabs.expertsPerTab} experts), once`,
    `A token       ${plan.lapsPerToken} laps; at least ${(plan.floorBytesPerToken / 1e6).toFixed(2)} MB both ways (rows of ${plan.rowBytes} B, one tab in each lap)`,
    `Speed         at most ${rate(ceilings.both)} for one stream: ${rate(ceilings.roundTrip)} by round trips of ${command.rttMs} ms, ` +
      `${rate(ceilings.bandwidth)} by reading ${formatBytes(ceilings.weightsReadPerToken)} of weights; streams share laps`,
    ...describeLocalExperts(plan),
  ];
}

function describeLocalExperts({ localExperts, expertsPerToken, expertBytes, ceilings }: ServingPlan): string[] {
  const { layerBytes, steps } = localExperts;
  const lines = steps.map(({ localBytes, layers, mtp, lapsPerToken, tabs, tokensPerSecond }) => {
    const drafter = mtp === 'local' ? "the MTP module's and " : '';
    const gain = (100 * (tokensPerSecond / ceilings.both - 1)).toFixed(0);
    return (
      `  ${formatBytes(localBytes).padStart(10)}  holds ${drafter}${layers} ${layers === 1 ? 'layer' : 'layers'}: ` +
      `${lapsPerToken} laps, ${tabs} tabs, at most ${rate(tokensPerSecond)} (${gain.startsWith('-') ? gain : `+${gain}`} %)`
    );
  });
  return [
    `Own experts   with --local-experts the coordinator takes whole layers of ${formatBytes(layerBytes)}: no lap for them, but ` +
      `${formatBytes(expertsPerToken * expertBytes)} more to read for a token in each`,
    ...lines,
  ];
}
