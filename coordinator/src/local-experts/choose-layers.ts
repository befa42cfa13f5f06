import { isMoeLayer, type ModelConfig, moeLayers } from '@shoal/model';
import type { MtpPlace } from '../config.ts';

export interface LocalLayerInput {
  config: Pick<ModelConfig, 'layerKinds' | 'numHiddenLayers' | 'nRoutedExperts'>;
  /** Of one expert. */
  shardBytes: number;
  /** For whole layers (`--local-experts`). */
  localBytes: number;
  /** For experts cached for audits and for what no tab serves (`--expert-memory`). */
  expertMemoryBytes: number;
  /** auto: local where it fits, else on tabs. */
  mtp: MtpPlace | 'auto';
}

/** What the coordinator computes by plan. */
export interface LocalLayerChoice {
  /** The main model's layers that make no lap, ascending. */
  layers: number[];
  /** undefined: the model has no MTP module. */
  mtp: MtpPlace | undefined;
  /** Of `localBytes`, for these layers and the module; 0 where a small module shares the memory for audits. */
  bytes: number;
}

/** A module that shares the memory for audits may take so much of it: the experts of many rows have to fit beside it. */
const MTP_SHARE = 0.5;

/**
 * Whole layers, since a part of one saves no lap: the MTP module's first, which each draft waits for, then the main model's
 * from the first on. A small module shares the memory for audits, so that it needs no option.
 * Throws a RangeError that names the option.
 */
export function chooseLocalLayers(input: LocalLayerInput): LocalLayerChoice {
  const { config, shardBytes, localBytes } = input;
  const layerBytes = config.nRoutedExperts * shardBytes;
  const mtp = mtpPlace(input, layerBytes);
  const fits = Math.floor(localBytes / layerBytes);
  const drafters = mtp === 'local' && fits > 0 ? 1 : 0;
  const layers = moeLayers(config).slice(0, fits - drafters);
  if (localBytes > 0 && fits === 0) {
    throw new RangeError(
      `--local-experts holds whole layers, and one of this model takes ${layerBytes} bytes: give at least that, or leave it out`,
    );
  }
  return { layers, mtp, bytes: (layers.length + drafters) * layerBytes };
}

/** One for each of the main model's MoE layers that tabs serve. */
export function lapsPerPass(config: LocalLayerInput['config'], { layers }: Pick<LocalLayerChoice, 'layers'>): number {
  return moeLayers(config).length - layers.length;
}

function mtpPlace(
  { config, localBytes, expertMemoryBytes, mtp }: LocalLayerInput,
  bytes: number,
): MtpPlace | undefined {
  if (!isMoeLayer(config, config.numHiddenLayers)) return undefined;
  const fits = bytes <= localBytes || bytes <= MTP_SHARE * expertMemoryBytes;
  if (mtp === 'local' && !fits) {
    throw new RangeError(
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

/** Throws a RangeError, naming the options, where what is to be held is more than the machine (or its container) has. */
export function refuseBeyondMemory(needs: MemoryNeeds, machineBytes: number): void {
  const { denseBytes, kvBytes, expertMemoryBytes, localLayerBytes } = needs;
  const neededBytes = denseBytes + kvBytes + expertMemoryBytes + localLayerBytes;
  if (localLayerBytes === 0 || neededBytes <= machineBytes) return;
  const leftBytes = Math.max(0, machineBytes - (neededBytes - localLayerBytes));
  throw new RangeError(
    `--local-experts would hold ${mebibytes(localLayerBytes)} of experts beside ${mebibytes(denseBytes)} of weights, ` +
      `${mebibytes(kvBytes)} for the KV cache and ${mebibytes(expertMemoryBytes)} of --expert-memory, ` +
      `on a machine with ${mebibytes(machineBytes)}: give at most ${mebibytes(leftBytes)}`,
  );
}

const mebibytes = (bytes: number): string => `${Math.floor(bytes / 2 ** 20)} MiB`;
