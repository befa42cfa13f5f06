import { WasmEngine } from '@shoal/kernels/node';
import { type ForwardEngine, isDenseModel, messageOf, type ModelConfig, type Tokenizer } from '@shoal/model';
import { readTokenizerFiles, tokenizerFrom } from '@shoal/model/node';
import type { DenseFormat } from '@shoal/weights';
import {
  ensurePacked,
  isPackedDir,
  openPacked,
  openPackedModel,
  openSource,
  type PackedModel,
} from '@shoal/weights/node';
import { UsageError } from './base/usage-error.ts';
import type { Config } from './config.ts';
import { openDenseEngine } from './dense-engine.ts';
import { type PackHooks, refuseOther } from './packed-model.ts';

/** By default: what rounding changes costs a draft at most, and the time of a draft is that of reading the weights. */
export const DRAFT_FORMAT: DenseFormat = 'q8';

/** A dense model that drafts for the one that is served (`--draft-model`). */
export interface DraftModel {
  modelId: string;
  engine: ForwardEngine;
  /** Of its weights. */
  bytes: number;
}

/** The model that it is to draft for. */
export interface DraftedFor {
  modelId: string;
  config: ModelConfig;
  tokenizer: Tokenizer;
  forward: ForwardEngine;
}

/**
 * The options with the MTP module left out where a draft model or a head takes its place. Throws a UsageError for options that exclude each
 * other.
 */
export function withOneDrafter(config: Config): Config {
  const { draftModel, drafter, speculate, mtpExperts } = config;
  if (draftModel === undefined && drafter === undefined) return config;
  if (draftModel !== undefined && drafter !== undefined)
    throw new UsageError('--draft-model and --drafter exclude each other: leave one of them out');
  const flag = draftModel === undefined ? '--drafter' : '--draft-model';
  if (speculate !== 'auto')
    throw new UsageError(`${flag} drafts with --speculate auto only: leave --speculate ${speculate} out`);
  if (mtpExperts === 'local' || mtpExperts === 'tabs') {
    throw new UsageError(
      `--mtp-experts ${mtpExperts}: the MTP module does not draft beside ${flag}; leave one of them out`,
    );
  }
  return { ...config, mtpExperts: 'off' };
}

/**
 * Opens the draft model, packed into the cache first where it is not. Throws a UsageError that names what does not fit, before
 * anything large is fetched.
 */
export async function openDraftModel(
  config: Config,
  served: DraftedFor,
  hooks: PackHooks = {},
): Promise<DraftModel | undefined> {
  if (config.draftModel === undefined) return undefined;
  const packed = await packedDraftModel(config.draftModel, config, served, hooks);
  const opened = await openPackedModel(packed);
  try {
    const { engine: kind, threads, draftKvBytes: kvBytes } = config;
    const beside = served.forward instanceof WasmEngine ? served.forward : undefined;
    const { config: model, reader, dense } = opened;
    const engine = await openDenseEngine({
      config: model,
      engine: kind,
      reader,
      packed: dense,
      threads,
      kvBytes,
      beside,
    });
    return { modelId: packed.manifest.modelId, engine, bytes: packed.manifest.dense.bytes };
  } finally {
    await opened.close();
  }
}

async function packedDraftModel(
  spec: string,
  { cacheDir, offline, draftQuant }: Config,
  served: DraftedFor,
  { onPackProgress, onNotice, signal }: PackHooks,
): Promise<PackedModel> {
  const source = await openSource(spec, { offline, signal, onNotice });
  const config = await source.config().catch((error: unknown) => {
    throw new UsageError(`--draft-model: ${messageOf(error)}`, { cause: error });
  });
  // A packed one has no other folder.
  const packedDir = source.dir !== undefined && (await isPackedDir(source.dir)) ? source.dir : undefined;
  const dir = packedDir ?? (await source.metaDir());
  const tokenizer = tokenizerFrom(
    await readTokenizerFiles(dir ?? { source: source.spec, files: await source.files() }),
  );
  const misfit = misfitOf({ config, tokenizer }, served);
  if (misfit !== undefined) throw new UsageError(`--draft-model ${spec} ${misfit}`);
  const onDamage = ({ text }: { text: string }): void => onNotice?.(text);
  if (packedDir !== undefined) {
    const packed = await openPacked(packedDir, { onDamage });
    refuseOther('--draft-quant', draftQuant, packed.manifest.dense.format, packedDir);
    return packed;
  }
  return ensurePacked({
    source,
    cacheDir,
    denseQuant: draftQuant ?? DRAFT_FORMAT,
    onDamage,
    ...(onPackProgress && { onProgress: onPackProgress }),
    ...(onNotice && { onNotice }),
    ...(signal && { signal }),
  });
}

/** Why a model cannot draft for the served one; undefined if it can. Its context may be shorter: it then drafts up to there. */
export function misfitOf(
  { config, tokenizer }: Pick<DraftedFor, 'config' | 'tokenizer'>,
  served: Pick<DraftedFor, 'config' | 'tokenizer' | 'modelId'>,
): string | undefined {
  return misfitOfConfig(config, served) ?? misfitOfTokens(tokenizer, served);
}

/** The same as far as the configs show it. */
export function misfitOfConfig(
  config: ModelConfig,
  served: Pick<DraftedFor, 'config' | 'modelId'>,
): string | undefined {
  if (!isDenseModel(config)) {
    return `has routed experts (${config.modelType}), and a draft model is a dense one, whole on the coordinator: give one of the families llama or qwen3`;
  }
  const { vocabSize } = served.config;
  if (config.vocabSize === vocabSize) return undefined;
  return `has a vocabulary of ${config.vocabSize} tokens, and ${served.modelId} one of ${vocabSize}: a draft model needs the same tokenizer`;
}

/** Special tokens included. How texts are split into tokens is of no concern, since a draft model reads no text. */
function misfitOfTokens(
  tokenizer: Tokenizer,
  { modelId, config, tokenizer: other }: Pick<DraftedFor, 'config' | 'tokenizer' | 'modelId'>,
): string | undefined {
  for (let id = 0; id < config.vocabSize; id++) {
    const [own, its] = [tokenizer.tokenBytes(id), other.tokenBytes(id)];
    if (Buffer.compare(own, its) !== 0)
      return `has another tokenizer than ${modelId}: token ${id} is ${textOf(own)}, and not ${textOf(its)}`;
  }
  return undefined;
}

function textOf(token: Uint8Array): string {
  return token.length === 0 ? 'none' : JSON.stringify(Buffer.from(token).toString());
}
