import { parentPort, workerData } from 'node:worker_threads';
import { GrammarHost } from './grammar-host.ts';
import type { GrammarOrder, GrammarThreadData } from './thread-messages.ts';

/** The thread of `Grammars`. */
const port = parentPort!;
const host = new GrammarHost((workerData as GrammarThreadData).vocabulary);
/** Sources to compile, one at a time: answers that are under way come first. */
const waiting: Extract<GrammarOrder, { kind: 'compile' }>[] = [];

port.on('message', (orders: GrammarOrder[]) => {
  const others = orders.filter((order) => {
    if (order.kind !== 'compile') return true;
    if (waiting.push(order) === 1) setImmediate(compileNext);
    return false;
  });
  const isOpened = (grammar: number): boolean =>
    others.some((order) => order.kind === 'open' && order.grammar === grammar);
  // Compiled at once where an answer already has it.
  if (waiting.some(({ grammar }) => isOpened(grammar))) obey(waiting.splice(0));
  obey(others);
});

function compileNext(): void {
  obey(waiting.splice(0, 1));
  if (waiting.length > 0) setImmediate(compileNext);
}

function obey(orders: GrammarOrder[]): void {
  const replies = host.obey(orders);
  if (replies.length > 0) port.postMessage(replies);
}
