import { logSoftmaxAt, sample, topLogprobs } from '@shoal/model';
import type { BatchEntry } from './batch.ts';
import type { TokenLogprob } from './contract.ts';
import type { Sequence } from './sequence.ts';

export interface AnswersOptions {
  maxContext: number;
  /** What ends an answer. */
  eosTokenIds: readonly number[];
}

/** Turns logits into tokens, and tells each sequence's reader. */
export class Answers {
  readonly #options: AnswersOptions;
  /** Generated since start. */
  tokens = 0;

  constructor(options: AnswersOptions) {
    this.#options = options;
  }

  /** A pass has computed the entry's rows: what follows from their logits. Throws where they are damaged. */
  advance(entry: BatchEntry, logits: readonly (Float32Array | undefined)[]): void {
    const { sequence, firstRow, numRows, startLength } = entry;
    if (sequence.finished) return;
    sequence.pages?.commit(sequence.ids);
    if (sequence.request.promptLogprobs && startLength < sequence.request.promptIds.length) {
      this.#collectPrompt(entry, logits);
    }
    const reached = startLength + numRows;
    if (reached < sequence.ids.length) return;
    if (sequence.request.maxTokens === 0)
      return sequence.emit({ type: 'finish', reason: 'length', ...sequence.limitDetails() });
    this.#take(sequence, logits[firstRow + numRows - 1]!);
  }

  /** Choose the next token from the last row's logits, and tell the reader. */
  #take(sequence: Sequence, logits: Float32Array): void {
    const { request } = sequence;
    const tokenId = sample(logits, { temperature: request.temperature, topP: request.topP, rng: sequence.rng });
    if (this.#options.eosTokenIds.includes(tokenId))
      return sequence.emit({ type: 'finish', reason: 'stop', ...sequence.limitDetails() });
    sequence.ids.push(tokenId);
    this.tokens++;
    sequence.emit({
      type: 'token',
      token: {
        tokenId,
        ...(request.topLogprobs !== undefined && describeLogprobs(logits, tokenId, request.topLogprobs)),
        ...(request.trace && { trace: sequence.traces }),
        ...sequence.limitDetails(),
      },
    });
    sequence.traces = [];
    const full = sequence.ids.length >= this.#options.maxContext || sequence.completionTokens >= request.maxTokens;
    if (full) sequence.emit({ type: 'finish', reason: 'length', ...sequence.limitDetails() });
  }

  /** A prompt token's logprob comes from the row before it; the first token has none. */
  #collectPrompt(entry: BatchEntry, logits: readonly (Float32Array | undefined)[]): void {
    const { sequence, firstRow, numRows, startLength } = entry;
    const { promptIds, topLogprobs: top = 0 } = sequence.request;
    const collected = sequence.promptLogprobs;
    if (startLength === 0) collected.push({ tokenId: promptIds[0]!, logprob: null, topLogprobs: [] });
    for (let i = 0; i < numRows; i++) {
      const next = promptIds[startLength + i + 1];
      if (next === undefined) break;
      collected.push({ tokenId: next, ...describeLogprobs(logits[firstRow + i]!, next, top) });
    }
    if (startLength + numRows >= promptIds.length) sequence.emit({ type: 'prompt-logprobs', tokens: collected });
  }
}

function describeLogprobs(
  logits: Float32Array,
  tokenId: number,
  top: number,
): { logprob: number; topLogprobs: TokenLogprob[] } {
  return { logprob: logSoftmaxAt(logits, tokenId), topLogprobs: topLogprobs(logits, top) };
}
