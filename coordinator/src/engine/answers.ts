import { logSoftmaxAt, sample, topLogprobs } from '@shoal/model';
import type { BatchEntry } from './batch.ts';
import type { TokenLogprob } from './contract.ts';
import { verifyDrafts } from './speculation/verify.ts';

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
  /** Passes × sequences that they gave tokens, and those tokens, ends of text included. */
  tokenPasses = 0;
  chosen = 0;

  constructor(options: AnswersOptions) {
    this.#options = options;
  }

  /**
   * A pass has computed the entry's rows: what follows from their logits. Returns how many of its drafts were right; its cache
   * then ends with the last of them. Throws where logits are damaged.
   */
  advance(entry: BatchEntry, logits: readonly (Float32Array | undefined)[]): number {
    const { sequence, numRows, startLength, drafts } = entry;
    if (sequence.finished) return 0;
    const known = numRows - drafts.length;
    const isWhole = startLength + known === sequence.ids.length;
    for (let i = 0; i < known - 1; i++) settle(entry, i);
    if (sequence.request.promptLogprobs && startLength < sequence.request.promptIds.length) {
      this.#collectPrompt(entry, logits);
    }
    let accepted = 0;
    if (!isWhole || sequence.request.maxTokens === 0) {
      settle(entry, known - 1);
      if (isWhole) sequence.emit({ type: 'finish', reason: 'length', ...sequence.details() });
    } else {
      this.tokenPasses++;
      sequence.speculation?.countPass(drafts.length);
      accepted = verifyDrafts(drafts, (i) => this.#take(entry, known - 1 + i, i, logits));
    }
    sequence.cache!.truncate(startLength + known + accepted);
    sequence.pages?.commit(sequence.ids);
    return accepted;
  }

  /**
   * Choose the token after one of the entry's rows, `accepted` drafts being right so far, and tell the reader. undefined: the
   * answer has ended.
   */
  #take(
    entry: BatchEntry,
    row: number,
    accepted: number,
    allLogits: readonly (Float32Array | undefined)[],
  ): number | undefined {
    const { sequence, firstRow } = entry;
    const { request, speculation } = sequence;
    const logits = allLogits[firstRow + row]!;
    settle(entry, row);
    if (speculation && accepted > 0) speculation.usage.accepted++;
    const rng = (): number => sequence.draws.next();
    this.chosen++;
    const tokenId = sample(logits, { temperature: request.temperature, topP: request.topP, rng });
    if (this.#options.eosTokenIds.includes(tokenId)) {
      sequence.emit({ type: 'finish', reason: 'stop', ...sequence.details() });
      return undefined;
    }
    sequence.ids.push(tokenId);
    this.tokens++;
    sequence.emit({
      type: 'token',
      token: {
        tokenId,
        ...(request.topLogprobs !== undefined && describeLogprobs(logits, tokenId, request.topLogprobs)),
        ...(request.trace && { trace: entry.notes[row]!.traces }),
        ...sequence.details(),
      },
    });
    const full = sequence.ids.length >= this.#options.maxContext || sequence.completionTokens >= request.maxTokens;
    if (full) sequence.emit({ type: 'finish', reason: 'length', ...sequence.details() });
    return sequence.finished ? undefined : tokenId;
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

/** The row's token is the sequence's: what was noted of it counts. */
function settle({ sequence, notes }: BatchEntry, row: number): void {
  const { deviceLimit } = sequence;
  if (!deviceLimit) return;
  deviceLimit.tokenLayers += notes[row]!.limitedLayers;
  deviceLimit.changed += notes[row]!.changedLayers;
}

function describeLogprobs(
  logits: Float32Array,
  tokenId: number,
  top: number,
): { logprob: number; topLogprobs: TokenLogprob[] } {
  return { logprob: logSoftmaxAt(logits, tokenId), topLogprobs: topLogprobs(logits, top) };
}
