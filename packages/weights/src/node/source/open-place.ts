import type { Checkpoint } from '@shoal/model/node';
import { Stage } from '../hub/stage.ts';
import type { CheckpointPlace } from '../jobs.ts';
import { openSource } from './open-source.ts';

/** Opens a checkpoint in a thread of its own, where another one has found it. */
export async function openPlace({ spec, stageDir }: CheckpointPlace): Promise<Checkpoint> {
  if (stageDir !== undefined) return (await Stage.open(stageDir)).openCheckpoint();
  return (await openSource(spec)).openFew();
}
