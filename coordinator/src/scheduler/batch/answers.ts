import { answerOf, type RowAnswer } from '@shoal/model';
import type { BatchEntry } from './batch.ts';
import { verifyDrafts } from '../speculation/verify.ts';

export interface AnswersOptions {
  /** Of an encoder–decoder's answer alone. */
  maxContext: number;
}

/** Hands the tokens of a pass to the readers of its sequences. */
export class Answers {
  readonly #options: AnswersOptions;
  /** Tokens generated since start. */
  tokens = 0;
  /** Passes × sequences that got tokens from them, and those tokens, end-of-text tokens included. */
  tokenPasses = 0;
  chosen = 0;

  constructor(options: AnswersOptions) {
    this.#options = options;
  }

  /**
   * Advances a sequence after a pass has computed its rows, and notes which of its drafts were right; its cache then ends with the
   * last one. Throws if a row has an error instead of an answer, or a constraint fails.
   */
  advance(entry: BatchEntry, answers: readonly (RowAnswer | undefined)[]): void {
    const { sequence, numRows, startLength, drafts } = entry;
    if (sequence.finished) return;
    const known = numRows - drafts.tokens.length;
    const isWhole = startLength + known === sequence.ids.length;
    for (let i = 0; i < known - 1; i++) settle(entry, i);
    if (sequence.request.promptLogprobs && startLength < sequence.request.promptIds.length) {
      this.#collectPrompt(entry, answers);
    }
    if (!isWhole || sequence.request.maxTokens === 0) {
      settle(entry, known - 1);
      if (isWhole) sequence.emit({ type: 'finish', reason: 'length', ...sequence.details() });
    } else {
      this.tokenPasses++;
      sequence.speculation?.countPass(drafts.tokens.length);
      entry.accepted = verifyDrafts(drafts, (node) => this.#take(entry, known + node, node >= 0, answers));
    }
    const firstDraft = startLength + known;
    sequence.keep(
      firstDraft,
      entry.accepted.map((node) => firstDraft + node),
    );
  }

  /**
   * Takes the token after one of the entry's rows, which may be that of a right draft, and hands it to the reader. Returns
   * undefined if the answer has ended.
   */
  #take(
    entry: BatchEntry,
    row: number,
    isDraft: boolean,
    answers: readonly (RowAnswer | undefined)[],
  ): number | undefined {
    const { sequence, firstRow } = entry;
    const { request, speculation } = sequence;
    settle(entry, row);
    if (speculation && isDraft) speculation.usage.accepted++;
    this.chosen++;
    const answer = answerOf(answers, firstRow + row);
    const { tokenId } = answer;
    sequence.sampling.drawn();
    if (sequence.sampling.ends.has(tokenId)) {
      sequence.emit({ type: 'finish', reason: 'stop', stopTokenId: tokenId, ...sequence.details() });
      return undefined;
    }
    sequence.append(tokenId);
    this.tokens++;
    sequence.emit({
      type: 'token',
      token: {
        ...answer,
        ...(request.trace && { trace: entry.notes[row]!.traces }),
        ...sequence.details(),
      },
    });
    const length = sequence.ids.length - (request.sourceLength ?? 0);
    const full = length >= this.#options.maxContext || sequence.completionTokens >= request.maxTokens;
    if (full) sequence.emit({ type: 'finish', reason: 'length', ...sequence.details() });
    return sequence.finished ? undefined : tokenId;
  }

  /** Collects log-probabilities of prompt tokens: each comes from the row before it, so the first token has none. */
  #collectPrompt(entry: BatchEntry, answers: readonly (RowAnswer | undefined)[]): void {
    const { sequence, firstRow, numRows, startLength } = entry;
    const { promptIds } = sequence.request;
    const collected = sequence.promptLogprobs;
    if (startLength === 0) collected.push({ tokenId: promptIds[0]! });
    for (let i = 0; i < numRows; i++) {
      if (startLength + i + 1 >= promptIds.length) break;
      collected.push(answerOf(answers, firstRow + i));
    }
    if (startLength + numRows >= promptIds.length) sequence.emit({ type: 'prompt-logprobs', tokens: collected });
  }
}

/** Counts what was noted for a row, now that its token is certain. */
function settle({ sequence, notes }: BatchEntry, row: number): void {
  const { deviceLimit } = sequence;
  if (!deviceLimit) return;
  deviceLimit.tokenLayers += notes[row]!.limitedLayers;
  deviceLimit.changed += notes[row]!.changedLayers;
}
