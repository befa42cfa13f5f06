import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { copyWorkItem, type WorkItem } from '@shoal/model';
import { type Damage, startTypescriptThread } from '@shoal/weights/node';
import type { LoadedExpert } from './expert-cache.ts';
import type { ComputeMeter, LocalCompute } from './local-compute.ts';

/** What the thread is started with. */
export interface ExpertThreadData {
  /** The packed model's directory. */
  packedDir: string;
  /** The checkpoint to pack damaged shards again from. */
  checkpoint?: string | undefined;
  /** For shards cached between items; those of one row's experts come on top. */
  maxBytes: number;
  /** Threads that compute one item. */
  threads: number;
}

/** An item, with weights read and checked for it alone if `anew`; or layers to be loaded for good. */
export type ThreadTask = { item: WorkItem; anew: boolean } | { load: readonly number[] };

export interface LoadProgress {
  doneBytes: number;
  totalBytes: number;
}

interface ComputeReply {
  partial: Float32Array;
  busyMs: number;
  /** Layer, expert and its norms, of each expert that was loaded. */
  experts: LoadedExpert[];
}

export type ThreadReply =
  ComputeReply | { loaded: true } | { progress: LoadProgress } | { damage: Damage } | { error: string };

export interface ExpertThreadOptions extends Omit<ExpertThreadData, 'threads'> {
  /** Threads that compute one item; by default one for each core. Rechecks have one. */
  threads?: number | undefined;
  /** Called for each expert that an item had loaded, before its sums are given. */
  onLoaded: (...loaded: LoadedExpert) => void;
  /** Called when a shard was found damaged. */
  onDamage?: ((damage: Damage) => void) | undefined;
  /** From handing a task to the thread, or its last progress, until it counts as hung. */
  timeoutMs?: number;
}

/** In order of urgency: laps keep answers waiting, the others check peers. */
const KINDS = ['lap', 'audit', 'recheck'] as const;
type Kind = (typeof KINDS)[number];

interface Job {
  task: ThreadTask;
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Undefined where the task was to load layers. */
  resolve: (reply: ComputeReply | undefined) => void;
  reject: (error: Error) => void;
}

/** Waiting jobs of one kind. Passes and audits have a handful each; each peer that joins has one. */
const MAX_WAITING = 1024;
/** Well above a full prefill chunk of DeepSeek-V3's experts, read from a slow disk. */
const TIMEOUT_MS = 120_000;
/** Items after which one counts half: about 100. */
const WORK_KEPT = 2 ** (-1 / 100);

/**
 * Local experts, computed from packed shards in a thread, so that sockets and requests never wait for them. One task at a
 * time, laps before audits. A thread that dies or hangs fails its task, and the next task gets a new thread.
 */
export class ExpertThread {
  /** For laps that no peer answers. */
  readonly laps = this.#computeAs('lap');
  /** For known-answer tests, probation and audits. */
  readonly audits = this.#computeAs('audit');
  /** For audits, from weights read anew each time. */
  readonly rechecks = this.#computeAs('recheck');
  readonly #options: ExpertThreadOptions;
  readonly #waiting: Record<Kind, Job[]> = { lap: [], audit: [], recheck: [] };
  readonly #loaded = new Set<number>();
  #thread: Worker | undefined;
  #running: { job: Job; timer: NodeJS.Timeout } | undefined;
  #closed = false;
  /** Sums that fade with each item. */
  readonly #work = { busyMs: 0, assignments: 0 };

  constructor(options: ExpertThreadOptions) {
    this.#options = options;
    // Starting takes a moment, which the first task need not wait for.
    this.#thread = this.#start();
  }

  /** Milliseconds that one (row, expert) product took lately, without the wait for the thread; null before any was computed. */
  get ownMsPerAssignment(): number | null {
    return this.#work.assignments === 0 ? null : this.#work.busyMs / this.#work.assignments;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Rejects all tasks, and resolves when the thread has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const kind of KINDS) for (const job of this.#waiting[kind].splice(0)) job.reject(closedError());
    const thread = this.#thread;
    this.#drop(closedError());
    await thread?.terminate();
  }

  /** Loads whole layers beyond `maxBytes` for as long as the thread lives. */
  async load(layers: readonly number[], onProgress?: (progress: LoadProgress) => void): Promise<void> {
    await this.#ask('lap', { load: layers }, onProgress);
    for (const layer of layers) this.#loaded.add(layer);
  }

  /** Whether the present thread has loaded the layer. */
  has(layer: number): boolean {
    return this.#loaded.has(layer);
  }

  #computeAs(kind: Kind): LocalCompute {
    const compute = async (item: WorkItem, meter?: ComputeMeter): Promise<Float32Array> => {
      const reply = await this.#ask(kind, { item, anew: kind === 'recheck' });
      if (meter) meter.busyMs += reply!.busyMs;
      // Rechecks read their weights from the disk each time.
      if (kind !== 'recheck') this.#took(reply!.busyMs, item.experts.length);
      return reply!.partial;
    };
    return { compute };
  }

  #took(busyMs: number, assignments: number): void {
    this.#work.busyMs = this.#work.busyMs * WORK_KEPT + busyMs;
    this.#work.assignments = this.#work.assignments * WORK_KEPT + assignments;
  }

  #ask(kind: Kind, task: ThreadTask, onProgress?: Job['onProgress']): Promise<ComputeReply | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(closedError());
      const queue = this.#waiting[kind];
      if (queue.length >= MAX_WAITING) return reject(new Error(`${MAX_WAITING} tasks wait for the local experts`));
      queue.push({ task, onProgress, resolve, reject });
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
      this.#drop(new Error(`the local experts gave no answer within ${timeoutMs / 1000} s`));
    }, timeoutMs);
    this.#running = { job, timer };
    this.#thread ??= this.#start();
    // The thread keeps the process alive only while it works.
    this.#thread.ref();
    const { task } = job;
    // Copied, since a message carries the whole buffers that its arrays are views of.
    this.#thread.postMessage('item' in task ? { ...task, item: copyWorkItem(task.item) } : task);
  }

  #start(): Worker {
    const { packedDir, checkpoint, maxBytes, threads = availableParallelism() } = this.#options;
    const workerData: ExpertThreadData = { packedDir, checkpoint, maxBytes, threads };
    const thread = startTypescriptThread(new URL('./expert-thread-main.ts', import.meta.url), workerData);
    thread.unref();
    const gone = (why: string): void => {
      if (this.#thread === thread) this.#drop(new Error(`the local experts: ${why}`));
    };
    thread.on('message', (reply: ThreadReply) => {
      if (this.#thread === thread) this.#settle(reply);
    });
    thread.on('error', (error) => gone(error.message));
    thread.on('exit', (code) => gone(`their thread ended with code ${code}`));
    return thread;
  }

  #settle(reply: ThreadReply): void {
    if ('damage' in reply) return this.#options.onDamage?.(reply.damage);
    if (!this.#running) return;
    const { job, timer } = this.#running;
    if ('progress' in reply) {
      timer.refresh();
      return job.onProgress?.(reply.progress);
    }
    clearTimeout(timer);
    this.#running = undefined;
    this.#thread?.unref();
    if ('error' in reply) {
      job.reject(new Error(reply.error));
    } else if ('loaded' in reply) {
      job.resolve(undefined);
    } else {
      for (const loaded of reply.experts) this.#options.onLoaded(...loaded);
      job.resolve(reply);
    }
    this.#next();
  }

  /** Ends the thread and rejects the task that runs on it. */
  #drop(error: Error): void {
    const thread = this.#thread;
    this.#thread = undefined;
    this.#loaded.clear();
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
