import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { startTypescriptThread } from '@shoal/weights/node';
import { type WorkItem, copyWorkItem } from '@shoal/model';
import type { LocalCompute, ComputeMeter } from './local-compute.ts';

/** What the thread is started with. */
export interface ExpertWorkerData {
  /** Folder of the packed model. */
  packedDir: string;
  /** Of shards cached between requests; those of one row's experts come on top. */
  maxBytes: number;
  /** Threads for one request. */
  threads: number;
}

export interface ExpertWork {
  request: WorkItem;
  /** From shards that are read from the disk, and checked, for this request alone. */
  anew: boolean;
}

/** Work, or layers to be loaded for good. */
export type ToExpertWorker = ExpertWork | { pin: readonly number[] };

export interface LoadProgress {
  doneBytes: number;
  totalBytes: number;
}

export type FromExpertWorker =
  | {
      partial: Float32Array;
      busyMs: number;
      /** Of experts that were loaded: layer, expert, product of their matrices' norms. */
      normProducts: [number, number, number][];
    }
  | { progress: LoadProgress }
  | { stored: readonly number[] }
  | { error: string };

export interface ExpertWorkerOptions extends Omit<ExpertWorkerData, 'threads'> {
  /** Threads for one request; as many as the machine has cores by default. Rechecks have one. */
  threads?: number | undefined;
  /** Told of each expert that was loaded, before the answer for which it was. */
  onLoaded: (layer: number, expert: number, normProduct: number) => void;
  /** From handing a request to the thread, or its last word of progress, until it counts as hung. */
  timeoutMs?: number;
}

/** In order of urgency: what an answer waits for, then what checks tabs. */
const KINDS = ['lap', 'audit', 'recheck'] as const;
type Kind = (typeof KINDS)[number];

interface Job {
  message: ToExpertWorker;
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  resolve: (answer: Answer) => void;
  reject: (error: Error) => void;
}

type Answer = Exclude<FromExpertWorker, { error: string } | { progress: LoadProgress }>;

/** Requests that wait, of each kind. The engine and the audits ask for a handful each; joins for one per tab. */
const MAX_WAITING = 1024;
/** A full prefill chunk of V3's experts read from a slow disk stays well below. */
const TIMEOUT_MS = 120_000;

/**
 * The coordinator's own experts, computed in a thread of their own from the packed shards, so that sockets and requests
 * never wait for them. One request at a time, laps before audits. A thread that dies or hangs fails its request, and the
 * next one gets a new thread.
 */
export class ExpertWorker {
  /** For laps that no tab answers. */
  readonly laps: LocalCompute;
  /** For self-tests, probation and audits. */
  readonly audits: LocalCompute;
  /** The same, from weights read anew each time. */
  readonly rechecks: LocalCompute;
  readonly #options: ExpertWorkerOptions;
  readonly #waiting: Record<Kind, Job[]> = { lap: [], audit: [], recheck: [] };
  readonly #stored = new Set<number>();
  #thread: Worker | undefined;
  #running: { job: Job; timer: ReturnType<typeof setTimeout> } | undefined;
  #closed = false;

  constructor(options: ExpertWorkerOptions) {
    this.#options = options;
    const work = (kind: Kind): LocalCompute => ({
      compute: (request, meter) => this.#compute(kind, request, meter),
    });
    this.laps = work('lap');
    this.audits = work('audit');
    this.rechecks = work('recheck');
    // Starting takes a moment, which the first request need not wait for.
    this.#thread = this.#start();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** What waits or runs is rejected. Resolves when the thread has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const kind of KINDS) {
      for (const job of this.#waiting[kind].splice(0)) job.reject(closedError());
    }
    const thread = this.#thread;
    this.#drop(closedError());
    await thread?.terminate();
  }

  /** Load whole layers and keep them, whatever `maxBytes`, for as long as the thread lives. */
  async pin(layers: readonly number[], onProgress?: (progress: LoadProgress) => void): Promise<void> {
    await this.#ask('lap', { message: { pin: layers }, onProgress });
    for (const layer of layers) this.#stored.add(layer);
  }

  /** Whether the layer is stored in the thread that there is now. */
  holds(layer: number): boolean {
    return this.#stored.has(layer);
  }

  async #compute(kind: Kind, request: WorkItem, meter: ComputeMeter | undefined): Promise<Float32Array> {
    const answer = await this.#ask(kind, { message: { request, anew: kind === 'recheck' } });
    if (!('partial' in answer)) throw new Error('the coordinator’s own experts gave another answer than was asked for');
    if (meter) meter.busyMs += answer.busyMs;
    return answer.partial;
  }

  #ask(kind: Kind, job: Pick<Job, 'message' | 'onProgress'>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(closedError());
      const queue = this.#waiting[kind];
      if (queue.length >= MAX_WAITING)
        return reject(new Error(`${MAX_WAITING} requests wait for the coordinator’s own experts`));
      queue.push({ ...job, resolve, reject });
      this.#next();
    });
  }

  #next(): void {
    if (this.#running || this.#closed) return;
    const kind = KINDS.find((candidate) => this.#waiting[candidate].length > 0);
    if (kind === undefined) return;
    const job = this.#waiting[kind].shift()!;
    const timeoutMs = this.#options.timeoutMs ?? TIMEOUT_MS;
    const timer = setTimeout(() => {
      this.#drop(new Error(`the coordinator’s own experts gave no answer within ${timeoutMs / 1000} s`));
    }, timeoutMs);
    this.#running = { job, timer };
    this.#thread ??= this.#start();
    // It keeps the process alive while it works, and only then.
    this.#thread.ref();
    const { message } = job;
    // A message carries the whole buffers that its arrays are views of.
    this.#thread.postMessage('request' in message ? { ...message, request: copyWorkItem(message.request) } : message);
  }

  #start(): Worker {
    const { packedDir, maxBytes, threads = availableParallelism() } = this.#options;
    const workerData: ExpertWorkerData = { packedDir, maxBytes, threads };
    const worker = startTypescriptThread(new URL('./worker-thread.ts', import.meta.url), workerData);
    worker.unref();
    const gone = (why: string): void => {
      if (this.#thread === worker) this.#drop(new Error(`the coordinator’s own experts: ${why}`));
    };
    worker.on('message', (message: FromExpertWorker) => {
      if (this.#thread === worker) this.#settle(message);
    });
    worker.on('error', (error) => gone(error.message));
    worker.on('exit', (code) => gone(`their thread ended with code ${code}`));
    return worker;
  }

  #settle(message: FromExpertWorker): void {
    const running = this.#running;
    if (!running) return;
    const { job, timer } = running;
    if ('progress' in message) {
      timer.refresh();
      return job.onProgress?.(message.progress);
    }
    clearTimeout(timer);
    this.#running = undefined;
    this.#thread?.unref();
    if ('error' in message) {
      job.reject(new Error(message.error));
    } else {
      for (const [layer, expert, product] of 'partial' in message ? message.normProducts : [])
        this.#options.onLoaded(layer, expert, product);
      job.resolve(message);
    }
    this.#next();
  }

  /** The thread is of no use any more; what runs on it is rejected. */
  #drop(error: Error): void {
    const thread = this.#thread;
    this.#thread = undefined;
    this.#stored.clear();
    void thread?.terminate();
    if (this.#running) {
      clearTimeout(this.#running.timer);
      this.#running.job.reject(error);
      this.#running = undefined;
    }
    this.#next();
  }
}

const closedError = (): Error => new Error('the coordinator is shutting down');
