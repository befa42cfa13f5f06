import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';

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

/**
 * Starts a thread that runs a module: of TypeScript in a checkout, where what is sent to it waits for its program, and of JavaScript
 * in the package, whose bundle has each such module as a file (tools/package/bundle.ts). It gets none of the parent's flags.
 */
export function startTypescriptThread(module: URL, workerData: unknown): Worker {
  if (!module.pathname.endsWith('.ts')) return new Worker(module, { workerData, execArgv: [] });
  const { port1, port2 } = new MessageChannel();
  const data = { program: port2, workerData };
  const worker = new Worker(START, { eval: true, workerData: data, transferList: [port2], execArgv: [] });
  void sendProgram(module, port1);
  return worker;
}

async function sendProgram(module: URL, port: MessagePort): Promise<void> {
  try {
    // The bundler is there in a checkout only.
    const { threadProgram } = await import('./thread-program.ts');
    port.postMessage({ source: await threadProgram(module) });
  } catch (error) {
    port.postMessage({ error });
  }
}
