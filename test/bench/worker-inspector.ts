import type { CDPSession, Page } from 'playwright';

interface Reply {
  id: number;
  result?: unknown;
  error?: { message: string };
}

/** DevTools of a page's dedicated worker, whose heap is separate from the page's. */
export class WorkerInspector {
  readonly #session: CDPSession;
  readonly #sessionId: string;
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  #nextId = 1;

  private constructor(session: CDPSession, sessionId: string) {
    this.#session = session;
    this.#sessionId = sessionId;
    session.on('Target.receivedMessageFromTarget', ({ message }: { message: string }) => {
      const reply = JSON.parse(message) as Reply;
      this.#waiting.get(reply.id)?.(reply);
      this.#waiting.delete(reply.id);
    });
  }

  static async attach(page: Page): Promise<WorkerInspector> {
    const session = await page.context().newCDPSession(page);
    const attached = new Promise<string>((resolve) => {
      session.on('Target.attachedToTarget', ({ sessionId, targetInfo }) => {
        if (targetInfo.type === 'worker') resolve(sessionId);
      });
    });
    await session.send('Target.setAutoAttach', { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
    return new WorkerInspector(session, await attached);
  }

  async send<T>(method: string, params: object = {}): Promise<T> {
    const id = this.#nextId++;
    const reply = new Promise<Reply>((resolve) => this.#waiting.set(id, resolve));
    const message = JSON.stringify({ id, method, params });
    await this.#session.send('Target.sendMessageToTarget', { sessionId: this.#sessionId, message });
    const { result, error } = await reply;
    if (error) throw new Error(`${method}: ${error.message}`);
    return result as T;
  }

  /** Live bytes: objects, and the memory of array buffers. */
  async liveBytes(): Promise<number> {
    for (let i = 0; i < 2; i++) await this.send('HeapProfiler.collectGarbage');
    const heap = await this.send<{ usedSize: number; backingStorageSize?: number }>('Runtime.getHeapUsage');
    return heap.usedSize + (heap.backingStorageSize ?? 0);
  }

  /** Bytes of all objects that `work` made, including dead ones; sampled every few KiB. */
  async allocatedBytes(work: () => Promise<void>): Promise<number> {
    await this.send('HeapProfiler.startSampling', {
      samplingInterval: 4096,
      includeObjectsCollectedByMajorGC: true,
      includeObjectsCollectedByMinorGC: true,
    });
    await work();
    const { profile } = await this.send<{ profile: { samples: { size: number }[] } }>('HeapProfiler.stopSampling');
    return profile.samples.reduce((sum, { size }) => sum + size, 0);
  }
}
