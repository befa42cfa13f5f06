import {
  getLlama,
  type Llama,
  type LlamaContextSequence,
  type LlamaModel,
  LlamaLogLevel,
  type Token,
} from 'node-llama-cpp';

/** A GGUF file in llama.cpp (node-llama-cpp's prebuilt CPU binary), the implementation that ours is compared with. */
export interface LlamaCpp {
  /** Probabilities of the next token after each id: [ids.length][vocabSize]. */
  probabilities(ids: readonly number[]): Promise<Float32Array[]>;
  /** Converts text to ids with llama.cpp's own tokenizer, including special tokens in the text. */
  tokenize(text: string): number[];
  /** Evaluates the ids as one prompt; returns milliseconds. */
  prefillMs(ids: readonly number[]): Promise<number>;
  /** Appends `count` tokens one by one, each time the sampled one; returns milliseconds. */
  decodeMs(promptIds: readonly number[], count: number): Promise<number>;
  close(): Promise<void>;
}

export interface LlamaCppOptions {
  contextSize: number;
  /** 0 means one thread per core. */
  threads: number;
  /** Loads the model in this one, which stays when the model is closed; its own by default. */
  llama?: Llama;
}

/** Loads llama.cpp, which takes half a second. */
export function startLlama(threads: number): Promise<Llama> {
  // Never builds or downloads: without a prebuilt binary the comparison fails with an error.
  return getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    maxThreads: threads,
    logLevel: LlamaLogLevel.error,
  });
}

export async function openLlamaCpp(path: string, options: LlamaCppOptions): Promise<LlamaCpp> {
  const { contextSize, threads } = options;
  const llama = options.llama ?? (await startLlama(threads));
  const model = await llama.loadModel({ modelPath: path });
  const context = await model.createContext({ contextSize, batchSize: contextSize, threads, flashAttention: false });
  const sequence = context.getSequence();
  const vocabSize = model.fileInfo.metadata.tokenizer.ggml.tokens.length;
  return {
    async probabilities(ids) {
      await sequence.clearHistory();
      const generateNext = { probabilities: true, options: { temperature: 1, topK: 0, topP: 1, minP: 0 } };
      const outputs = await sequence.controlledEvaluate(ids.map((id) => [id as Token, { generateNext }]));
      return outputs.map((output) => {
        const row = new Float32Array(vocabSize);
        for (const [token, probability] of output!.next.probabilities!) row[token] = probability;
        return row;
      });
    },
    tokenize: (text) => [...model.tokenize(text, true)],
    prefillMs: (ids) => prefillMs(sequence, ids),
    decodeMs: (promptIds, count) => decodeMs(sequence, promptIds, count),
    async close() {
      await context.dispose();
      await (model as LlamaModel).dispose();
      if (!options.llama) await llama.dispose();
    },
  };
}

async function prefillMs(sequence: LlamaContextSequence, ids: readonly number[]): Promise<number> {
  await sequence.clearHistory();
  const startedMs = performance.now();
  await sequence.controlledEvaluate(ids.map((id) => id as Token));
  return performance.now() - startedMs;
}

async function decodeMs(sequence: LlamaContextSequence, promptIds: readonly number[], count: number): Promise<number> {
  await sequence.clearHistory();
  const [last, ...before] = [...promptIds].reverse();
  await sequence.controlledEvaluate(before.reverse().map((id) => id as Token));
  let next = last as Token;
  const startedMs = performance.now();
  for (let i = 0; i < count; i++) {
    const [output] = await sequence.controlledEvaluate([[next, { generateNext: { token: true } }]]);
    next = output!.next.token!;
  }
  return performance.now() - startedMs;
}
