import type { FromWorker, ToWorker } from '../messages.ts';
import { TabHost, type TabPlace } from '../tab-host.ts';

/**
 * In the place of the page's worker where there are no pages: the same work in the session's own thread, since Node can't hand a
 * data channel to another. Kernels for processors have threads of their own, and a GPU computes beside.
 */
export class LocalWorker {
  onmessage: ((event: { data: FromWorker }) => void) | undefined;
  onerror: ((event: { message: string }) => void) | undefined;
  readonly #host: TabHost;

  constructor(place: Omit<TabPlace, 'post' | 'onBug'>) {
    this.#host = new TabHost({
      ...place,
      // Later, as of a worker: the session doesn't expect an answer while it asks.
      post: (message) => queueMicrotask(() => this.onmessage?.({ data: message })),
      onBug: (error) => this.onerror?.({ message: String(error) }),
    });
  }

  postMessage(message: ToWorker): void {
    this.#host.receive(message);
  }

  terminate(): void {
    this.onmessage = undefined;
    void this.#host.close();
  }
}
