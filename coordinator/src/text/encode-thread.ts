import { parentPort, workerData } from 'node:worker_threads';
import { loadTokenizer } from '@shoal/model/node';
import { encodeNow, type EncodeOutcome, type EncodeTask } from './encode-task.ts';

/** A thread of `TextThreads`, which sends one task at a time. */
export type EncodeReply = EncodeOutcome | { error: string };

const { modelDir } = workerData as { modelDir: string };
const port = parentPort!;
const loading = loadTokenizer(modelDir);
// Reported to the first task.
loading.catch(() => {});

port.on('message', (task: EncodeTask) => {
  void loading
    .then((tokenizer): EncodeReply => encodeNow(tokenizer, task))
    .catch((thrown: unknown): EncodeReply => ({ error: thrown instanceof Error ? thrown.message : String(thrown) }))
    .then((reply) => port.postMessage(reply, 'ids' in reply ? [reply.ids.buffer] : []));
});
