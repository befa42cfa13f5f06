import { messageOf, type ModelConfig } from '@shoal/model';
import { openHead, type OpenHead, readHeadConfig } from '@shoal/model/node';
import { openSource } from '@shoal/weights/node';
import { UsageError } from './base/usage-error.ts';
import type { Config } from './config.ts';
import type { PackHooks } from './packed-model.ts';

/** A head that drafts from the hidden states of the served model (`--drafter`), open for reading. */
export interface OpenDraftHead extends OpenHead {
  name: string;
}

/** The model that it is to draft for. */
export interface HeadTargetModel {
  modelId: string;
  /** Its full name on a hub. */
  hubName: string | undefined;
  config: ModelConfig;
}

/**
 * Opens the head of `--drafter`, fetched first where it is a hub's. Throws a UsageError that names what is wrong with it, or what does
 * not fit. A head that was trained for a model of another name is told, and used: variants of a model mostly share heads.
 */
export async function openDraftHead(
  { drafter: spec, offline }: Pick<Config, 'drafter' | 'offline'>,
  target: HeadTargetModel,
  { onNotice, signal }: PackHooks = {},
): Promise<OpenDraftHead | undefined> {
  if (spec === undefined) return undefined;
  try {
    const source = await openSource(spec, { offline, signal, onNotice });
    // What doesn't fit is told before anything large is fetched.
    const dir = await source.metaDir();
    if (dir !== undefined) await readHeadConfig(dir, target.config);
    const head = await openHead(await source.weightsDir(), target.config);
    const { trainedFor } = head;
    if (trainedFor !== undefined && !isSame(trainedFor, target))
      onNotice?.(
        `--drafter ${spec} was trained for ${trainedFor}, and ${target.hubName ?? target.modelId} is served: it fits, but may be right less often`,
      );
    return { ...head, name: source.modelId };
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new UsageError(`--drafter ${spec}: ${messageOf(error)}`, { cause: error });
  }
}

/** By its last part, since either may be a directory. */
function isSame(trainedFor: string, { modelId, hubName }: HeadTargetModel): boolean {
  const last = (name: string): string => name.replace(/\/+$/, '').split('/').at(-1)!.toLowerCase();
  return [modelId, hubName ?? modelId].some((name) => last(name) === last(trainedFor));
}
