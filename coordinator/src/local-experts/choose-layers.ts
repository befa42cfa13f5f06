import { answerLayers, isMoeLayer, type ModelConfig, moeLayers } from '@shoal/model';
import { UsageError } from '../base/usage-error.ts';
import type { MtpPlace } from '../config.ts';

export interface LocalLayerInput {
  config: Pick<ModelConfig, 'layerKinds' | 'numHiddenLayers' | 'nRoutedExperts' | 'seq2seq'>;
  shardBytes: number;
  /** For whole layers (`--local-experts`). */
  localBytes: number;
  /** For the experts cached for audits and for what no tab serves (`--expert-memory`). */
  expertMemoryBytes: number;
  /** auto: local where it fits, else on tabs. */
  mtp: MtpPlace | 'auto';
}

/** The layers that the coordinator computes by plan. */
export interface LocalLayerChoice {
  /** The main model's layers that make no lap, ascending. */
  layers: number[];
  /** Undefined for a model without an MTP module. */
  mtp: MtpPlace | undefined;
  /** What they and the module take of `localBytes`; 0 where a small module shares the memory for audits. */
  bytes: number;
}

/** The largest share of the memory for audits that a module may take. The experts of many rows have to fit beside it. */
const MTP_SHARE = 0.5;

/**
 * Chooses whole layers, since a part of one saves no lap: the MTP module's, which each draft waits for, then the main model's
 * from the first on, of an encoder–decoder those of the decoder before the encoder's, which make a lap only once an answer. A small module shares the memory for audits, so it needs no option. Throws a UsageError that names the
 * option.
 */
export function chooseLocalLayers(input: LocalLayerInput): LocalLayerChoice {
  const { config, shardBytes, localBytes } = input;
  const layerBytes = config.nRoutedExperts * shardBytes;
  const mtp = mtpPlace(input, layerBytes);
  const fits = Math.floor(localBytes / layerBytes);
  const drafters = mtp === 'local' && fits > 0 ? 1 : 0;
  const perToken = answerLayers(config);
  const inOrder = [...perToken, ...moeLayers(config).filter((layer) => !perToken.includes(layer))];
  const layers = inOrder.slice(0, fits - drafters).sort((a, b) => a - b);
  if (localBytes > 0 && fits === 0) {
    throw new UsageError(
      `--local-experts holds whole layers, and one of this model takes ${layerBytes} bytes: give at least that, or leave it out`,
    );
  }
  return { layers, mtp, bytes: (layers.length + drafters) * layerBytes };
}

/** The number of the main model's MoE layers that tabs serve, of an encoder–decoder in its decoder. */
export function lapsPerPass(config: LocalLayerInput['config'], { layers }: Pick<LocalLayerChoice, 'layers'>): number {
  return answerLayers(config).filter((layer) => !layers.includes(layer)).length;
}

function mtpPlace(
  { config, localBytes, expertMemoryBytes, mtp }: LocalLayerInput,
  bytes: number,
): MtpPlace | undefined {
  if (!isMoeLayer(config, config.numHiddenLayers)) return undefined;
  const fits = bytes <= localBytes || bytes <= MTP_SHARE * expertMemoryBytes;
  if (mtp === 'local' && !fits) {
    throw new UsageError(
      `--mtp-experts local: the MTP module's experts take ${bytes} bytes; give --local-experts at least that, or put them on tabs`,
    );
  }
  if (mtp === 'auto') return fits ? 'local' : 'tabs';
  return mtp;
}

export interface MemoryNeeds {
  denseBytes: number;
  kvBytes: number;
  expertMemoryBytes: number;
  localLayerBytes: number;
}

/** Throws a UsageError that names the options if local layers would need more memory than the machine (or container) has. */
export function refuseBeyondMemory(needs: MemoryNeeds, machineBytes: number): void {
  const { denseBytes, kvBytes, expertMemoryBytes, localLayerBytes } = needs;
  const neededBytes = denseBytes + kvBytes + expertMemoryBytes + localLayerBytes;
  if (localLayerBytes === 0 || neededBytes <= machineBytes) return;
  const leftBytes = Math.max(0, machineBytes - (neededBytes - localLayerBytes));
  throw new UsageError(
    `--local-experts would hold ${mebibytes(localLayerBytes)} of experts beside ${mebibytes(denseBytes)} of weights, ` +
      `${mebibytes(kvBytes)} for the KV cache and ${mebibytes(expertMemoryBytes)} of --expert-memory, ` +
      `on a machine with ${mebibytes(machineBytes)}: give at most ${mebibytes(leftBytes)}`,
  );
}

const mebibytes = (bytes: number): string => `${Math.floor(bytes / 2 ** 20)} MiB`;
