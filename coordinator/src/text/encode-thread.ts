import { parentPort, workerData } from 'node:worker_threads';
import { type TokenizerFiles, tokenizerFrom } from '@shoal/model/node';
import { encodeNow, type EncodeOutcome, type EncodeTask } from './encode-task.ts';

/** What a thread is started with. */
export interface EncodeThreadData {
  /** Those that the main thread's tokenizer was made from, so that both give the same ids, whatever becomes of the disk. */
  files: TokenizerFiles;
}

/** A thread of `TextThread`, which sends one task at a time. */
export type EncodeReply = EncodeOutcome | { error: string };

// A tokenizer that cannot be made ends the thread with the reason.
const tokenizer = tokenizerFrom((workerData as EncodeThreadData).files);
const port = parentPort!;

port.on('message', (task: EncodeTask) => {
  const reply = encode(task);
  port.postMessage(reply, 'ids' in reply ? [reply.ids.buffer] : []);
});

function encode(task: EncodeTask): EncodeReply {
  try {
    return encodeNow(tokenizer, task);
  } catch (thrown) {
    return { error: thrown instanceof Error ? thrown.message : String(thrown) };
  }
}
