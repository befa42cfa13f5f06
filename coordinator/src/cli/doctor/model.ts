import { expertLayers, messageOf, type ModelConfig } from '@shoal/model';
import type { Formats } from '@shoal/weights';
import { isPackedDir, openSource, packedFolder } from '@shoal/weights/node';
import type { Config } from '../../config.ts';
import { refuseDense } from '../../packed-model.ts';
import { planServing, type ServingPlan } from '../capacity.ts';
import type { CommandIo } from '../command.ts';
import { formatsOf } from '../plan.ts';
import { type PlannedModel, readPlannedModel } from '../planned-model.ts';
import { formatBytes } from '../progress.ts';
import { failed, type Finding, ok, warning } from './finding.ts';
import type { MemoryNeeds } from './memory.ts';

/** What the other checks need of the model. */
export interface ModelNeeds {
  findings: Finding[];
  memory?: MemoryNeeds;
  /** Of the packed model, 0 where it is packed already. */
  packedBytes: number;
}

/** See --kv-memory. */
const FULL_CONTEXTS = 256;

type ModelOptions = Pick<
  Config,
  'model' | 'offline' | 'quant' | 'denseQuant' | 'cacheDir' | 'kvMemoryBytes' | 'expertMemoryBytes' | 'localExpertBytes'
>;

/** Looks for the model as `serve` would, without fetching its weights. */
export async function examineModel(config: ModelOptions, io: CommandIo): Promise<ModelNeeds> {
  let model: PlannedModel;
  try {
    model = await readPlannedModel(config, io);
    refuseDense(model.config, config.model);
  } catch (error) {
    const remedy =
      'Correct --model, or fetch the model where the network is, and bring its directory or the cache of the hub.';
    return { findings: [failed(`${config.model}: ${messageOf(error)}`, remedy)], packedBytes: 0 };
  }
  const formats = formatsOf(model, config);
  const serving = plan(model.config, formats);
  const isPacked = model.own !== undefined || (await isCached(config, formats));
  const experts = expertLayers(model.config).length * model.config.nRoutedExperts;
  const packedBytes = isPacked ? 0 : experts * serving.expertBytes + serving.coordinator.weightsBytes;
  const memory = memoryOf(model.config, serving, config);
  return { findings: findingsOf(model, config, isPacked, packedBytes), memory, packedBytes };
}

function findingsOf(
  { weights, tokenizerProblem }: PlannedModel,
  { model }: ModelOptions,
  isPacked: boolean,
  packedBytes: number,
): Finding[] {
  const findings: Finding[] = [];
  if (tokenizerProblem !== undefined)
    findings.push(
      failed(
        `the tokenizer of ${model} cannot be read: ${tokenizerProblem}`,
        'Take a checkpoint with a tokenizer.json.',
      ),
    );
  if (isPacked) findings.push(ok(`${model} is packed`));
  else if (weights !== undefined && weights.missingBytes > 0)
    findings.push(
      warning(
        `${model} is not here: the first start fetches ${formatBytes(weights.missingBytes)} and packs them into ${formatBytes(packedBytes)}`,
        'Fetch and pack it before: shoal pack (docs/OPERATIONS.md).',
      ),
    );
  else findings.push(ok(`${model} is here; the first start packs it into ${formatBytes(packedBytes)}`));
  return findings;
}

async function isCached({ cacheDir, model, offline }: ModelOptions, formats: Formats): Promise<boolean> {
  const source = await openSource(model, { offline });
  return isPackedDir(await packedFolder(source, formats, cacheDir));
}

function plan(config: ModelConfig, formats: Formats) {
  const contextTokens = config.maxPositionEmbeddings;
  const serving = { tabBytes: Number.MAX_SAFE_INTEGER, replicas: 1, rttMs: 1, contextTokens, bandwidthBytesPerS: 1 };
  return planServing({ config, ...formats, ...serving });
}

function memoryOf(
  config: ModelConfig,
  { coordinator, allExpertsBytes }: ServingPlan,
  options: ModelOptions,
): MemoryNeeds {
  return {
    weights: coordinator.weightsBytes,
    kvCache: Math.min(options.kvMemoryBytes, FULL_CONTEXTS * coordinator.kvBytesAtContext),
    experts: Math.min(allExpertsBytes, options.expertMemoryBytes + options.localExpertBytes),
    process: coordinator.processBytes,
  };
}
