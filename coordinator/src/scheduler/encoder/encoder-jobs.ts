import type { GenerationError } from '../generation.ts';

/** One request's inputs, and what is known of them. */
export class EncoderJob {
  readonly id: string;
  /** Token ids of each input. */
  readonly inputs: readonly (readonly number[])[];
  readonly dimensions: number;
  readonly client: string;
  readonly createdMs: number;
  readonly result: Promise<Float32Array[]>;
  /** Inputs that passes have taken, in order. */
  taken = 0;
  /** Tokens of the others. */
  waitingTokens: number;
  #done = 0;
  readonly #embeddings: Float32Array[] = [];
  readonly #resolvers: { resolve: (embeddings: Float32Array[]) => void; reject: (error: GenerationError) => void };
  #onEnd: ((error: GenerationError | undefined) => void)[] = [];

  constructor(options: Pick<EncoderJob, 'id' | 'inputs' | 'dimensions' | 'client' | 'createdMs'>) {
    const { id, inputs, dimensions, client, createdMs } = options;
    [this.id, this.inputs, this.dimensions, this.client, this.createdMs] = [id, inputs, dimensions, client, createdMs];
    this.waitingTokens = this.tokens;
    const { promise, ...resolvers } = withResolvers<Float32Array[]>();
    this.result = promise;
    this.#resolvers = resolvers;
  }

  get tokens(): number {
    return this.inputs.reduce((sum, { length }) => sum + length, 0);
  }

  get hasEnded(): boolean {
    return this.#done === Number.POSITIVE_INFINITY;
  }

  get isTaken(): boolean {
    return this.taken === this.inputs.length;
  }

  whenEnded(callback: (error: GenerationError | undefined) => void): void {
    this.#onEnd.push(callback);
  }

  /** Takes one input's embedding; with the last the job ends. */
  give(input: number, embedding: Float32Array): void {
    if (this.hasEnded) return;
    this.#embeddings[input] = embedding;
    if (++this.#done < this.inputs.length) return;
    this.#end(undefined);
    this.#resolvers.resolve(this.#embeddings);
  }

  fail(error: GenerationError): void {
    if (this.hasEnded) return;
    this.#end(error);
    this.#resolvers.reject(error);
  }

  #end(error: GenerationError | undefined): void {
    this.#done = Number.POSITIVE_INFINITY;
    for (const callback of this.#onEnd.splice(0)) callback(error);
  }
}

function withResolvers<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: GenerationError) => void;
  const promise = new Promise<T>((onDone, onError) => ([resolve, reject] = [onDone, onError]));
  return { promise, resolve, reject };
}

/** An input that a pass computes. */
export interface TakenInput {
  job: EncoderJob;
  input: number;
}

/** The jobs with inputs that no pass has taken. Clients take turns, input by input; a client's jobs come in order. */
export class WaitingJobs {
  /** The client whose turn is next comes first. */
  readonly #clients = new Map<string, EncoderJob[]>();

  get all(): EncoderJob[] {
    return [...this.#clients.values()].flat();
  }

  countOf(client: string): number {
    return this.#clients.get(client)?.length ?? 0;
  }

  add(job: EncoderJob): void {
    const jobs = this.#clients.get(job.client);
    if (jobs) jobs.push(job);
    else this.#clients.set(job.client, [job]);
  }

  remove(job: EncoderJob): void {
    const left = (this.#clients.get(job.client) ?? []).filter((other) => other !== job);
    if (left.length > 0) this.#clients.set(job.client, left);
    else this.#clients.delete(job.client);
  }

  /** Inputs of `maxRows` rows in all, or a single longer one. An input has as many as it has tokens, and at least `minRows`. */
  take(maxRows: number, minRows = 1): TakenInput[] {
    const taken: TakenInput[] = [];
    let rows = 0;
    for (;;) {
      const left = maxRows - rows;
      const isFull = taken.length > 0 && left < minRows;
      const fitting = isFull ? undefined : this.#firstWithin(taken.length === 0 ? Number.POSITIVE_INFINITY : left);
      if (!fitting) return taken;
      const input = fitting.taken++;
      const { length } = fitting.inputs[input]!;
      fitting.waitingTokens -= length;
      rows += Math.max(length, minRows);
      taken.push({ job: fitting, input });
      this.#endTurn(fitting);
    }
  }

  /** The first client's job whose next input has no more tokens than that. */
  #firstWithin(maxRows: number): EncoderJob | undefined {
    for (const [job] of this.#clients.values()) if (job!.inputs[job!.taken]!.length <= maxRows) return job;
    return undefined;
  }

  #endTurn(job: EncoderJob): void {
    const jobs = this.#clients.get(job.client)!;
    this.#clients.delete(job.client);
    if (job.isTaken) jobs.shift();
    if (jobs.length > 0) this.#clients.set(job.client, jobs);
  }
}
