import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { threadProgram } from './thread-program.ts';

/** Waits for the program, and runs it with `workerData` as any thread has it. */
const START = `
  const threads = require('node:worker_threads');
  const { program, workerData } = threads.workerData;
  threads.workerData = workerData;
  program.once('message', ({ source, error }) => {
    program.close();
    if (error) throw error;
    new Function('require', source)(require);
  });
`;

/** Starts a thread that runs a TypeScript module. It gets none of the parent's flags. What is sent to it waits for its program. */
export function startTypescriptThread(module: URL, workerData: unknown): Worker {
  const { port1, port2 } = new MessageChannel();
  const data = { program: port2, workerData };
  const worker = new Worker(START, { eval: true, workerData: data, transferList: [port2], execArgv: [] });
  void sendProgram(module, port1);
  return worker;
}

async function sendProgram(module: URL, port: MessagePort): Promise<void> {
  try {
    port.postMessage({ source: await threadProgram(module) });
  } catch (error) {
    port.postMessage({ error });
  }
}
