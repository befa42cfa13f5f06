// The cost of drawing tokens from a large vocabulary: on the engine's threads, and on the main thread as before.
import { availableParallelism } from 'node:os';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { openWasmEngine } from '@shoal/kernels/node';
import {
  answerQuery,
  createRng,
  type SamplingParams,
  type EngineRow,
  type ExpertDispatch,
  type ForwardEngine,
  type ModelConfig,
  parseModelConfig,
  settleMasks,
  type TensorReader,
} from '@shoal/model';
import { smallConfigJson } from '@shoal/model/testing';
import { Scheduler } from '../../coordinator/src/scheduler/scheduler.ts';
import { lapsOf, NO_DRAFTS, testLimits } from '../../coordinator/src/scheduler/testing/options.ts';
import { measureHeadChanges, printHeadChanges } from './head-changes.ts';
import { formatTable, median } from './table.ts';

/** The vocabulary size of Qwen2 and Qwen3. */
const VOCAB = 151_936;
const HIDDEN = 64;
const STREAMS = 64;
const SEED = 11;

/** Deviation of the head's weights; a logit's is √HIDDEN times that: 1, or 8, where a few tokens hold nearly all. */
const SHAPES = { flat: 0.125, peaked: 1 };
type Shape = keyof typeof SHAPES;
const DRAWS = {
  greedy: { temperature: 0, topP: 1 },
  'temperature 1': { temperature: 1, topP: 1 },
  'top_p 0.9': { temperature: 1, topP: 0.9 },
};
type DrawName = keyof typeof DRAWS;

const experts: ExpertDispatch = {
  dispatch: (call) => ({ combine: async () => call.x.map((value) => value / 2) }),
};

interface PassFigure {
  shape: Shape;
  draw: DrawName;
  rows: number;
  threadsMs: number;
  mainThreadMs: number;
}

interface LoopFigure {
  shape: Shape;
  draw: DrawName;
  where: 'threads' | 'main thread';
  tokens: number;
  tokensPerS: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

export async function benchHead({ repeats, json }: { repeats: number; json: boolean }): Promise<void> {
  const threads = availableParallelism();
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const passes: PassFigure[] = [];
  const loops: LoopFigure[] = [];
  for (const shape of Object.keys(SHAPES) as Shape[]) {
    const engine = await openHead(shape, threads);
    try {
      for (const draw of Object.keys(DRAWS) as DrawName[]) {
        for (const rows of [1, STREAMS]) {
          const threadsMs = await passMs(engine, DRAWS[draw], rows, repeats * 3);
          const mainThreadMs = await passMs(onMainThread(engine), DRAWS[draw], rows, repeats);
          passes.push({ shape, draw, rows, threadsMs, mainThreadMs });
          say(`${shape}, ${draw}, ${rows} rows: ${threadsMs.toFixed(1)} and ${mainThreadMs.toFixed(1)} ms a pass`);
        }
      }
      for (const draw of Object.keys(DRAWS) as DrawName[]) {
        for (const where of ['threads', 'main thread'] as const) {
          const isOurs = where === 'threads';
          const figure = await streams(isOurs ? engine : onMainThread(engine), DRAWS[draw], isOurs ? 24 : 4);
          loops.push({ shape, draw, where, ...figure });
          say(`${shape}, ${draw}, drawn on the ${where}: p99 of the event loop's delay ${figure.p99Ms.toFixed(1)} ms`);
        }
      }
    } finally {
      await engine.close();
    }
  }
  const changes = await measureHeadChanges(threads, repeats, experts, say);
  if (json) process.stdout.write(`${JSON.stringify({ threads, vocab: VOCAB, passes, loops, changes }, null, 2)}\n`);
  else {
    print(threads, passes, loops);
    printHeadChanges(changes, threads);
  }
}

function print(threads: number, passes: readonly PassFigure[], loops: readonly LoopFigure[]): void {
  const ms = (value: number): string => value.toFixed(1);
  process.stdout.write(`A vocabulary of ${VOCAB}, ${threads} threads, ${HIDDEN} dimensions; medians\n\n`);
  const passHead = ['ms a pass', 'rows', 'drawn on the threads', 'on the main thread'];
  const passRows = passes.map(({ shape, draw, rows, threadsMs, mainThreadMs }) => {
    return [`${shape}, ${draw}`, `${rows}`, ms(threadsMs), ms(mainThreadMs)];
  });
  process.stdout.write(`${formatTable([passHead, ...passRows])}\n\n`);
  const loopHead = [`event loop, ${STREAMS} streams`, 'drawn on', 'tokens/s', 'p50 ms', 'p99 ms', 'max ms'];
  const loopRows = loops.map(({ shape, draw, where, tokensPerS, p50Ms, p99Ms, maxMs }) => {
    return [`${shape}, ${draw}`, where, tokensPerS.toFixed(0), ms(p50Ms), ms(p99Ms), ms(maxMs)];
  });
  process.stdout.write(`${formatTable([loopHead, ...loopRows])}\n`);
}

/** Opens a model that is little more than a head. */
async function openHead(shape: Shape, threads: number) {
  const config: ModelConfig = parseModelConfig({
    ...smallConfigJson,
    vocab_size: VOCAB,
    hidden_size: HIDDEN,
    num_nextn_predict_layers: 0,
    max_position_embeddings: 256,
    // A token that is unlikely to be drawn.
    eos_token_id: VOCAB - 1,
  });
  const reader: TensorReader = {
    read: async ({ name, shape: tensorShape }) => {
      const isNorm = name.includes('norm');
      const deviation = name.includes('lm_head') ? SHAPES[shape] : 0.125;
      const rng = createRng([...name].reduce((hash, char) => (hash * 31 + char.charCodeAt(0)) % 99_991, SEED));
      // The sum of three uniform numbers: nearly normal, with deviation 1/2.
      const next = (): number => (isNorm ? 1 : (rng() + rng() + rng() - 1.5) * 2 * deviation);
      return Float32Array.from({ length: tensorShape.reduce((a, b) => a * b, 1) }, next);
    },
  };
  return openWasmEngine({ config, weights: { reader, format: 'f16' }, threads });
}

/** The old way: whole rows of logits are copied, and the caller's thread draws. */
function onMainThread(engine: ForwardEngine): ForwardEngine {
  const forward: ForwardEngine['forward'] = async (rows, dispatch, observe) => {
    const wanted = rows.map(({ query, ...row }) => ({ ...row, wantLogits: query !== undefined }));
    const result = await engine.forward(wanted, dispatch, observe);
    const masks = await settleMasks(rows, VOCAB);
    const answers = rows.map(({ query }, r) => query && answerQuery(result.logits[r]!, query, masks[r]));
    return { ...result, answers };
  };
  return new Proxy(engine, {
    get: (target, key) => {
      if (key === 'forward') return forward;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

async function passMs(
  engine: ForwardEngine,
  draw: Omit<SamplingParams, 'uniform'>,
  numRows: number,
  repeats: number,
): Promise<number> {
  const rng = createRng(SEED);
  const caches = Array.from({ length: numRows }, () => engine.newSequence());
  const times: number[] = [];
  // The first run is only a warm-up.
  for (let run = 0; run <= repeats; run++) {
    const rows: EngineRow[] = caches.map((cache, r) => {
      const query = { token: { ...draw, uniform: rng() } };
      return { tokenId: 1 + r + run * numRows, position: 0, cache, query };
    });
    const startedMs = performance.now();
    await engine.forward(rows, experts);
    if (run > 0) times.push(performance.now() - startedMs);
    for (const cache of caches) cache.truncate(0);
  }
  for (const cache of caches) cache.free();
  return median(times);
}

async function streams(
  forward: ForwardEngine,
  { temperature, topP }: Omit<SamplingParams, 'uniform'>,
  maxTokens: number,
): Promise<Omit<LoopFigure, 'shape' | 'draw' | 'where'>> {
  const engine = new Scheduler({
    modelId: 'head',
    // Its pages can be lent only once, so each sequence takes its own.
    forward: new Proxy(forward, {
      get: (target, key) => {
        if (key === 'lendPages') return () => undefined;
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    }),
    experts: { batch: () => experts },
    limits: testLimits({ maxBatch: STREAMS }),
    lapsPerPass: lapsOf(forward),
    speculation: NO_DRAFTS,
  });
  let tokens = 0;
  const one = async (stream: number): Promise<void> => {
    const { signal } = new AbortController();
    const promptIds = [1 + stream, 2 + stream, 3 + stream];
    const request = { id: `${stream}`, promptIds, maxTokens, temperature, topP, seed: stream, signal };
    for await (const event of engine.submit(request)) if (event.type === 'token') tokens++;
  };
  const loop = monitorEventLoopDelay({ resolution: 1 });
  const startedMs = performance.now();
  loop.enable();
  await Promise.all(Array.from({ length: STREAMS }, (_, stream) => one(stream)));
  loop.disable();
  const seconds = (performance.now() - startedMs) / 1000;
  const [p50Ms, p99Ms, maxMs] = [loop.percentile(50) / 1e6, loop.percentile(99) / 1e6, loop.max / 1e6];
  return { tokens, tokensPerS: tokens / seconds, p50Ms, p99Ms, maxMs };
}
