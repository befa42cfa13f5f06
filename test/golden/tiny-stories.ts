import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  argmax,
  forward,
  KvCache,
  loadDenseWeights,
  loadExpert,
  LocalExperts,
  type ForwardResult,
  type Model,
  type Tokenizer,
} from '@shoal/model';
import { loadTokenizer, openCheckpoint, type Checkpoint } from '@shoal/model/node';

/** One prompt of fixtures/tiny-stories.json (see fixtures/README.md). */
export interface GoldenCase {
  prompt: string;
  prompt_ids: number[];
  greedy_ids: number[];
  greedy_text: string;
  margin_to_second: number[];
  /** [vocabSize] */
  last_logits: number[];
  last_mtp_argmax: number;
  /** Greedy drafts after the prompt, each by the MTP module on its own hidden state and draft. */
  mtp_drafts: number[];
  /** [moeLayers][numExpertsPerTok], ascending. */
  last_token_experts: number[][];
}

const fixtures = join(import.meta.dirname, 'fixtures');

export const modelDir = join(import.meta.dirname, '../../models/tiny-stories');
export const goldenCases = JSON.parse(readFileSync(join(fixtures, 'tiny-stories.json'), 'utf8')) as GoldenCase[];
export const heldOutText = readFileSync(join(fixtures, 'held-out.txt'), 'utf8');
export const heldOutPerplexity = JSON.parse(readFileSync(join(fixtures, 'held-out.perplexity.json'), 'utf8')) as {
  tokens: number;
  nll: number;
  perplexity: number;
  documents: { tokens: number; nll: number }[];
};

/** All routed experts of the default model as float32: 6 MoE layers (MTP's included) × 32 × 147,456 bytes. */
const EXPERT_BYTES = 6 * 32 * 3 * 192 * 64 * 4;

export interface TinyStories {
  checkpoint: Checkpoint;
  model: Model;
  tokenizer: Tokenizer;
  experts: LocalExperts;
}

export async function openTinyStories(): Promise<TinyStories> {
  const checkpoint = await openCheckpoint(modelDir);
  const { config } = checkpoint;
  const model = { config, weights: await loadDenseWeights(config, checkpoint) };
  const load = (layer: number, expert: number) => loadExpert(config, checkpoint, layer, expert);
  const experts = new LocalExperts(config, load, { maxBytes: EXPERT_BYTES });
  return { checkpoint, model, tokenizer: await loadTokenizer(modelDir), experts };
}

/** Read `ids` into `cache` in chunks; the last result, with logits of the last position. */
export async function prefill(
  { model, experts }: TinyStories,
  ids: readonly number[],
  cache: KvCache,
  chunkRows = ids.length,
): Promise<ForwardResult> {
  let result: ForwardResult | undefined;
  for (let start = 0; start < ids.length; start += chunkRows) {
    const rows = ids.slice(start, start + chunkRows).map((tokenId, i) => {
      const position = start + i;
      return { tokenId, position, cache, wantLogits: position === ids.length - 1 };
    });
    result = await forward(model, rows, experts);
  }
  return result!;
}

/** Greedy continuation, up to and with an end-of-text. */
export async function continueGreedily(
  tiny: TinyStories,
  ids: readonly number[],
  maxTokens: number,
): Promise<number[]> {
  const { model, experts } = tiny;
  const cache = new KvCache(model.config);
  let { logits } = await prefill(tiny, ids, cache);
  const answer: number[] = [];
  for (;;) {
    const tokenId = argmax(logits.at(-1)!);
    answer.push(tokenId);
    if (answer.length === maxTokens || model.config.eosTokenIds.includes(tokenId)) return answer;
    ({ logits } = await forward(model, [{ tokenId, position: cache.length, cache, wantLogits: true }], experts));
  }
}

/** Normalised mean squared error: Σ (x − reference)² / Σ reference². */
export function nmse(x: ArrayLike<number>, reference: ArrayLike<number>): number {
  if (x.length !== reference.length) throw new RangeError(`${x.length} values against ${reference.length}`);
  let error = 0;
  let norm = 0;
  for (let i = 0; i < reference.length; i++) {
    error += (x[i]! - reference[i]!) ** 2;
    norm += reference[i]! ** 2;
  }
  return error / norm;
}
