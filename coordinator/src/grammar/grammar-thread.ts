import { parentPort, workerData } from 'node:worker_threads';
import { GrammarHost } from './grammar-host.ts';
import type { GrammarOrder, GrammarThreadData } from './thread-messages.ts';

/** The thread of `Grammars`. */
const port = parentPort!;
const host = new GrammarHost((workerData as GrammarThreadData).vocabulary);

port.on('message', (orders: GrammarOrder[]) => {
  const replies = host.obey(orders);
  if (replies.length > 0) port.postMessage(replies);
});
