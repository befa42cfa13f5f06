import { randomUUID } from 'node:crypto';
import { answer, type AnswerOptions } from '../../integration/answers.ts';
import { GOLDEN } from '../../integration/golden.ts';
import type { EngineWatch } from '../engine-watch.ts';
import type { Rig } from '../rig.ts';
import { Span, type SpanFigures } from '../span.ts';

export interface StreamsOptions {
  streams: number;
  /** Tokens per answer. */
  tokens: number;
  /** Prompts that the streams take in turn. */
  prompts?: readonly (readonly number[])[];
  /** Greedy by default. */
  temperature?: number;
  /** Whether answers go on after their text's end. */
  ignoreEos?: boolean;
  /** Whether everything is measured, prompts and last streams included, and not only while all streams decode. */
  isWhole?: boolean;
}

export interface StreamsResult {
  /** While all streams decoded: from the last stream's first token to the first stream's last. Or of all, if that was asked. */
  tokensPerS: number;
  /** Time per token of one stream. */
  msPerToken: number;
  /** Token ids by stream. */
  ids: number[][];
  /** Figures from about the same moment to the end of the first stream. */
  span: SpanFigures;
}

const GOLDEN_PROMPTS = GOLDEN.map(({ prompt_ids }) => prompt_ids);
/** Enough for the windows of lap times to reflect the new line, and for code to be compiled. */
const WARM_UP_TOKENS = 14;

/** Sets the line's round trip and renews the figures that depend on it. */
export async function setRoundTrip(rig: Rig, roundTripMs: number): Promise<void> {
  rig.setLine({ roundTripMs, loss: 0 });
  await answer(rig.coordinator, GOLDEN_PROMPTS[0]!, { maxTokens: WARM_UP_TOKENS });
}

/** Lets streams decode together, with their prompts already read. */
export async function decodeStreams(rig: Rig, watch: EngineWatch, options: StreamsOptions): Promise<StreamsResult> {
  const { streams, tokens, prompts = GOLDEN_PROMPTS, temperature = 0, ignoreEos = false, isWhole = false } = options;
  const arrivals: number[][] = Array.from({ length: streams }, () => []);
  let begun = 0;
  let span: Promise<Span> | undefined;
  let figures: Promise<SpanFigures> | undefined;
  if (isWhole) span = Span.begin(rig, watch);
  const startedMs = performance.now();
  const ask = async (stream: number): Promise<number[]> => {
    // A scope of its own: none is drafted from an earlier answer to the same prompt.
    const request: AnswerOptions = {
      maxTokens: tokens,
      temperature,
      ignoreEos,
      seed: stream,
      cacheScope: randomUUID(),
    };
    const { ids } = await answer(rig.coordinator, prompts[stream % prompts.length]!, {
      ...request,
      onToken: () => {
        arrivals[stream]!.push(performance.now());
        if (arrivals[stream]!.length === 1 && ++begun === streams) span ??= Span.begin(rig, watch);
      },
    });
    if (!isWhole) figures ??= span?.then((running) => running.end());
    return ids;
  };
  const ids = await Promise.all(Array.from({ length: streams }, (_, stream) => ask(stream)));
  if (isWhole) figures = (await span!).end();
  const fromMs = isWhole ? startedMs : Math.max(...arrivals.map((times) => times[0]!));
  const toMs = isWhole ? performance.now() : Math.min(...arrivals.map((times) => times.at(-1)!));
  if (figures === undefined || toMs <= fromMs) {
    throw new Error(
      `${streams} streams did not decode together: one ended before another had begun (maxBatch, tokens)`,
    );
  }
  const counted = arrivals.flat().filter((atMs) => atMs > fromMs && atMs <= toMs).length;
  return {
    tokensPerS: (1000 * counted) / (toMs - fromMs),
    msPerToken: ((toMs - fromMs) * streams) / counted,
    ids,
    span: await figures,
  };
}
