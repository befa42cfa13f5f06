import { openWasmEngine, type WasmEngine } from '@shoal/kernels/node';
import { DraftVocabulary, type HeadConfig, type ModelConfig, parseModelConfig } from '@shoal/model';
import { parseHeadConfig } from '../../packages/model/src/heads/parse-head-config.ts';
import { randomReader } from './draft-model.ts';
import { machineFacts, machineInWords } from './machine.ts';
import { formatTable } from './table.ts';

/** Text before the rows that are measured. */
const CONTEXT = 256;
const ROWS = [1, 2, 4, 8, 16, 64];
const SEQUENCES = [1, 2, 4];
const BLOCK = 16;
const KV_BYTES = 64 * 2 ** 20;
const QUERY = { token: { temperature: 0, topP: 1, uniform: 0 }, topLogprobs: 4 };

export interface DraftHeadBenchOptions {
  repeats: number;
  json: boolean;
}

interface Call {
  what: string;
  bestMs: number;
  medianMs: number;
}

/** What calls of heads cost that draft for Qwen3-30B-A3B (random weights, q8): of EAGLE-3 by rows, of DFlash by blocks. */
export async function benchDraftHeads({ repeats, json }: DraftHeadBenchOptions): Promise<void> {
  const target = targetConfig();
  const calls: Call[] = [];
  for (const kind of ['eagle3', 'dflash'] as const) {
    process.stderr.write(`packing random weights of a ${kind} head and its target's ends into memory\n`);
    const engine = await openWith(target, headConfig(kind, target));
    try {
      calls.push(...(kind === 'eagle3' ? await measureEagle3(engine, repeats) : await measureDFlash(engine, repeats)));
    } finally {
      await engine.close();
    }
  }
  const machine = await machineFacts();
  if (json) {
    process.stdout.write(`${JSON.stringify({ machine, calls }, null, 2)}\n`);
    return;
  }
  process.stdout.write(`${machineInWords(machine)} Heads of hidden size ${target.hiddenSize}, q8.\n\n`);
  const table = calls.map(({ what, bestMs, medianMs }) => [what, bestMs.toFixed(1), medianMs.toFixed(1)]);
  process.stdout.write(`${formatTable([['call', 'ms, fastest', 'ms, median'], ...table])}\n`);
}

/** Embedding and output of Qwen3-30B-A3B, and between them small layers, which are not computed. */
function targetConfig(): ModelConfig {
  return parseModelConfig({
    model_type: 'qwen3_moe',
    architectures: ['Qwen3MoeForCausalLM'],
    hidden_size: 2048,
    vocab_size: 151_936,
    num_hidden_layers: 4,
    intermediate_size: 32,
    moe_intermediate_size: 32,
    num_experts: 8,
    num_experts_per_tok: 2,
    norm_topk_prob: true,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 32,
    hidden_act: 'silu',
    rms_norm_eps: 1e-6,
    rope_theta: 1e6,
    max_position_embeddings: 1024,
    bos_token_id: 0,
    eos_token_id: 0,
  });
}

function headConfig(kind: 'eagle3' | 'dflash', target: ModelConfig): HeadConfig {
  const layers = {
    hidden_size: target.hiddenSize,
    vocab_size: target.vocabSize,
    intermediate_size: 3 * target.hiddenSize,
    num_attention_heads: 32,
    num_key_value_heads: 4,
    head_dim: 128,
    rope_theta: 1e6,
  };
  const own =
    kind === 'eagle3'
      ? {
          architectures: ['LlamaForCausalLMEagle3'],
          model_type: 'llama',
          num_hidden_layers: 1,
          draft_vocab_size: 32_000,
          eagle_aux_hidden_state_layer_ids: [1, 2, 3],
        }
      : {
          architectures: ['DFlashDraftModel'],
          model_type: 'qwen3',
          num_hidden_layers: 5,
          block_size: BLOCK,
          dflash_config: { mask_token_id: 9, target_layer_ids: [0, 1, 2, 3] },
        };
  const { config } = parseHeadConfig({ ...layers, ...own }, target, 'config.json');
  return { ...config, stored: { firstLayer: 'midlayer.', embedding: false, output: kind === 'eagle3' } };
}

function openWith(config: ModelConfig, head: HeadConfig): Promise<WasmEngine> {
  const reader = randomReader();
  return openWasmEngine({
    config,
    weights: { reader, format: 'q8' },
    kvBytes: KV_BYTES,
    head: { config: head, vocabulary: new DraftVocabulary(undefined), reader, format: 'q8' },
  });
}

async function measureEagle3({ head, config }: WasmEngine, repeats: number): Promise<Call[]> {
  const { hiddenSize } = config;
  const wide = new Float32Array(3 * hiddenSize).fill(0.5);
  const own = new Float32Array(hiddenSize).fill(0.5);
  const cache = head!.newSequence();
  const rowAt = (position: number, isOwn: boolean) => {
    const hidden = isOwn ? own : wide;
    return { hidden, isOwn, nextTokenId: (position * 7919) % config.vocabSize, position, cache };
  };
  await head!.forwardEagle3(Array.from({ length: CONTEXT }, (_, position) => rowAt(position, false)));
  const calls: Call[] = [];
  for (const rows of ROWS) {
    const isPrompt = rows > 16;
    const what = `EAGLE-3, ${rows} ${rows === 1 ? 'row' : isPrompt ? 'rows of a prompt' : 'rows'}`;
    const batch = Array.from({ length: rows }, (_, i) => {
      return { ...rowAt(CONTEXT + i, !isPrompt), query: isPrompt ? undefined : QUERY };
    });
    calls.push(
      await timed(what, repeats, async () => {
        await head!.forwardEagle3(batch);
        return () => cache.truncate(CONTEXT);
      }),
    );
  }
  return calls;
}

async function measureDFlash({ head, config }: WasmEngine, repeats: number): Promise<Call[]> {
  const hidden = new Float32Array(4 * config.hiddenSize).fill(0.5);
  const caches = SEQUENCES.map(() => head!.newSequence());
  while (caches.length < Math.max(...SEQUENCES)) caches.push(head!.newSequence());
  const rowAt = (cache: (typeof caches)[number], position: number) => ({ hidden, position, cache });
  for (const cache of caches) await head!.addContext(Array.from({ length: CONTEXT }, (_, i) => rowAt(cache, i)));
  const calls: Call[] = [];
  for (const count of SEQUENCES) {
    const queries = Array.from({ length: BLOCK - 1 }, () => QUERY);
    const blocks = caches.slice(0, count).map((cache) => ({ tokenId: 5, position: CONTEXT, cache, queries }));
    const what = `DFlash, ${count} ${count === 1 ? 'block' : 'blocks'} of ${BLOCK}`;
    calls.push(
      await timed(what, repeats, async () => {
        await head!.forwardBlocks(blocks);
        return () => {};
      }),
    );
  }
  const context = Array.from({ length: 4 }, (_, i) => rowAt(caches[0]!, CONTEXT + i));
  const add = async () => {
    await head!.addContext(context);
    return () => caches[0]!.truncate(CONTEXT);
  };
  return [...calls, await timed('DFlash, 4 rows of context', repeats, add)];
}

/** Calls, of which the first is a warm-up; what each returns puts things back, and is not timed. */
async function timed(what: string, repeats: number, call: () => Promise<() => void>): Promise<Call> {
  const times: number[] = [];
  for (let run = 0; run <= repeats; run++) {
    const startedMs = performance.now();
    const back = await call();
    if (run > 0) times.push(performance.now() - startedMs);
    back();
  }
  times.sort((a, b) => a - b);
  return { what, bestMs: times[0]!, medianMs: times[Math.floor(times.length / 2)]! };
}
