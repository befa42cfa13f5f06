import type { ExpertDispatch } from './dispatch.ts';
import type { ForwardEngine } from './forward-engine.ts';
import type { ModelConfig } from './model-config.ts';
import type { Tokenizer } from './tokenizer.ts';
import { answerOf } from './token-query.ts';

export interface Perplexity {
  /** exp(nll / tokens) */
  perplexity: number;
  /** Σ −ln p over all predicted tokens, in nats. */
  nll: number;
  /** Predicted tokens. */
  tokens: number;
  documents: number;
}

export interface PerplexityOptions {
  /** Rows per forward pass. */
  chunkRows?: number;
  /** After every forward pass. */
  onProgress?: (tokensDone: number, tokensTotal: number) => void;
}

/** Enough rows per pass that reading the matrices costs little, but few enough that a tab is not kept busy for long. */
const CHUNK_ROWS = 64;

/**
 * Computes the model's perplexity over a text. Documents are separated by the text of the end-of-text token and trimmed; each is
 * scored as <bos> document <eos>, counting all tokens but <bos> (but the first, if the model has no <bos>). A document longer
 * than the context is scored in windows, each from a fresh <bos>. Throws a RangeError if the text contains no document.
 */
export async function scorePerplexity(
  engine: ForwardEngine,
  tokenizer: Tokenizer,
  text: string,
  experts: ExpertDispatch,
  { chunkRows = CHUNK_ROWS, onProgress }: PerplexityOptions = {},
): Promise<Perplexity> {
  const { documents, windows } = scoredWindows(engine.config, tokenizer, text);
  const total = windows.reduce((sum, window) => sum + window.length - 1, 0);
  if (total === 0) throw new RangeError('the text contains no document to score');
  let nll = 0;
  let tokens = 0;
  for (const window of windows) {
    const cache = engine.newSequence();
    for (let start = 0; start < window.length - 1; start += chunkRows) {
      const inputs = window.slice(start, Math.min(start + chunkRows, window.length - 1));
      const rows = inputs.map((tokenId, i) => {
        const query = { token: window[start + i + 1]!, topLogprobs: 0 };
        return { tokenId, position: start + i, cache, query };
      });
      const { answers } = await engine.forward(rows, experts);
      for (const r of rows.keys()) nll -= answerOf(answers, r).logprob!;
      tokens += rows.length;
      onProgress?.(tokens, total);
    }
    cache.free();
  }
  return { perplexity: Math.exp(nll / tokens), nll, tokens, documents };
}

/** The token ids in windows as they are scored: all tokens of a window but the first are predicted. */
export function scoredWindows(
  config: ModelConfig,
  tokenizer: Tokenizer,
  text: string,
): { documents: number; windows: number[][] } {
  const documents = splitDocuments(config, tokenizer, text);
  return { documents: documents.length, windows: documents.flatMap((ids) => contextWindows(config, ids)) };
}

/** Each document's ids, with the end-of-text token. */
function splitDocuments(config: ModelConfig, tokenizer: Tokenizer, text: string): number[][] {
  const eos = config.eosTokenIds[0]!;
  const separator = new TextDecoder().decode(tokenizer.tokenBytes(eos));
  return (separator === '' ? [text] : text.split(separator))
    .map((document) => document.trim())
    .filter((document) => document !== '')
    .map((document) => [...tokenizer.encode(document), eos]);
}

/**
 * Cuts ids into windows that fill the context, each after a <bos>; a window's last id is predicted but not read. If the model
 * has no <bos>, the last id of a window begins the next, and a document's first id is never predicted.
 */
function contextWindows(config: ModelConfig, ids: readonly number[]): number[][] {
  const { bosTokenId, maxPositionEmbeddings } = config;
  const all = bosTokenId === null ? ids : [bosTokenId, ...ids];
  const windows: number[][] = [];
  for (let start = 0; start < all.length - 1; start += maxPositionEmbeddings) {
    const window = all.slice(start, start + maxPositionEmbeddings + 1);
    if (bosTokenId !== null) window[0] = bosTokenId;
    windows.push(window);
  }
  return windows;
}
