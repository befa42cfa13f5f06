import { downloadFile } from '../hub/download-file.ts';
import type { HubClient } from '../hub/hub-client.ts';
import type { HubFile } from '../hub/hub-repo.ts';
import type { Stage } from '../hub/stage.ts';
import { bytesOf, scheduleStage, type StageStep, storedBytesOf } from '../hub/stage-schedule.ts';
import { type ScheduledJob, sumOf } from '../jobs.ts';
import type { BatchOptions, PackBatch, PackInput } from './model-source.ts';

interface Hub {
  /** Names the model, as `ModelSource.spec`. */
  spec: string;
  client: HubClient;
  listed: ReadonlyMap<string, HubFile>;
}

/** A hub's weights that are fetched file by file while they are packed, each dropped before the next one is needed. */
export async function openStagedInput(stage: Stage, hub: Hub): Promise<PackInput> {
  const checkpoint = await stage.openCheckpoint();
  const kept = await stage.keptTensors();
  const fetched = new Map(stage.files.flatMap(({ name, bytes, path }) => (path === undefined ? [[name, bytes]] : [])));
  return {
    checkpoint,
    place: { spec: hub.spec, stageDir: stage.dir },
    schedule: async (jobs) => {
      const present = new Map<string, number>();
      for (const name of fetched.keys()) {
        present.set(name, await stage.presentBytes(name, hub.listed.get(name)!.digest.hex));
      }
      const needs = ({ specs }: ScheduledJob) => storedBytesOf(checkpoint, specs);
      const { steps, held, roomBytes } = scheduleStage({ jobs, needs, fetched, present, kept });
      const files = steps.flatMap(({ file }) => (file === undefined ? [] : [hub.listed.get(file)!]));
      const bodies = files.flatMap(({ name, digest }) => [stage.bodyPath(name), stage.partPath(name, digest.hex)]);
      await stage.dropAllBut(new Set([...bodies, ...held.map((tensor) => stage.keptPath(tensor))]));
      return { roomBytes, batches: (options) => runSteps(stage, hub, steps, options) };
    },
    close: () => checkpoint.close(),
  };
}

/** A fetch that runs beside other work, and its progress. */
interface Fetching {
  done: Promise<void>;
  creditedBytes: number;
}

async function* runSteps(
  stage: Stage,
  hub: Hub,
  steps: readonly StageStep[],
  { credit, hasRoomFor }: BatchOptions,
): AsyncGenerator<PackBatch> {
  const stop = new AbortController();
  const client = hub.client.until(stop.signal);
  const start = ({ file: name, jobs }: StageStep): Fetching => {
    const file = hub.listed.get(name!)!;
    const share = sumOf(jobs, 'sourceBytes') / file.bytes;
    const fetching: Fetching = { done: Promise.resolve(), creditedBytes: 0 };
    const onBytes = (bytes: number): void => {
      const credited = Math.round(bytes * share);
      fetching.creditedBytes += credited;
      credit(credited);
    };
    fetching.done = fetchBody(stage, client, file, onBytes);
    // An error is reported where it is awaited.
    fetching.done.catch(() => {});
    return fetching;
  };
  let next: Fetching | undefined;
  try {
    for (const [index, step] of steps.entries()) {
      const fetching = step.file === undefined ? undefined : (next ?? start(step));
      await fetching?.done;
      // The next file comes while this one is packed, where the disk has room for both and for what is kept of this one.
      const following = steps[index + 1];
      const roomBytes = bytesOf(step.keep) + (following ? hub.listed.get(following.file!)!.bytes : 0);
      next = following && (await hasRoomFor(roomBytes)) ? start(following) : undefined;
      yield { jobs: step.jobs, creditedBytes: fetching?.creditedBytes ?? 0 };
      for (const tensor of step.keep) await stage.keep(tensor);
      if (step.file !== undefined) await stage.drop(stage.bodyPath(step.file));
      for (const tensor of step.drop) await stage.drop(stage.keptPath(tensor));
    }
  } finally {
    stop.abort();
    await next?.done.catch(() => {});
  }
}

/** Fetches and checks a file, unless an earlier run has. */
async function fetchBody(
  stage: Stage,
  client: HubClient,
  file: HubFile,
  onBytes: (bytes: number) => void,
): Promise<void> {
  if (await stage.hasBody(file.name)) {
    onBytes(file.bytes);
    return;
  }
  const path = stage.partPath(file.name, file.digest.hex);
  await downloadFile(client, { commit: stage.commit, file, path, onBytes });
  await stage.takeBody(file, path);
}
