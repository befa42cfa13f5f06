import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseModelConfig } from '../../config.ts';
import type { ModelConfig } from '../../model-config.ts';
import { glm45, glm45Air, glm47Flash, gptOss, kimiFp8, kimiK25, kimiText, miniMaxM2 } from './configs.ts';
import { llama31, qwen3 } from './dense-configs.ts';
import {
  dotsLlm1,
  ernie45,
  ernie45Large,
  granite,
  granite3b,
  hunyuanA13b,
  llama4,
  mixtral8x22b,
  nomicEmbed,
  qwen2Moe,
  qwen3Coder480b,
} from './more-configs.ts';
import { nllbMoe54b, switchBase, switchC, switchLarge } from './seq2seq-configs.ts';

/**
 * Published models: the numbers and keys of their config.json that this version reads, and how many parameters their publishers
 * count. Configs that are also in `published-configs/` are named by file.
 */
export interface PublishedModel {
  name: string;
  /** A file of `published-configs/`, or the keys themselves. */
  config: string | Readonly<Record<string, unknown>>;
  /** Parameters; `counted` says with which parts, and `source` who counts them. */
  parameters: number;
  counted: 'text' | 'text and MTP';
  source: Source;
}

/**
 * `hub`: the hub's count of the safetensors files' values. `gguf`: the count of a converted file, as llama.cpp prints it.
 * `transformers`: what transformers 5.24 creates for this config, where no exact count is published.
 */
type Source = 'hub' | 'gguf' | 'transformers';

export interface RefusedModel {
  name: string;
  config: Readonly<Record<string, unknown>>;
  /** Part of the message. */
  because: string;
}

/** Without the MTP module, and GLM's below without the embedding and head that files store for the module again. */
const V3 = { config: 'DeepSeek-V3', parameters: 671_026_419_200, counted: 'text', source: 'hub' } as const;
const QWEN3_30B = { config: 'Qwen3-30B-A3B', parameters: 30_532_122_624, counted: 'text', source: 'hub' } as const;
const QWEN3_235B = { config: 'Qwen3-235B-A22B', parameters: 235_093_634_560, counted: 'text', source: 'hub' } as const;
const V2 = { config: 'DeepSeek-V2', parameters: 235_741_434_880, counted: 'text', source: 'hub' } as const;
const V2_LITE = { config: 'DeepSeek-V2-Lite', parameters: 15_706_484_224, counted: 'text', source: 'hub' } as const;

const SCOUT_SCALING = {
  factor: 16,
  high_freq_factor: 1,
  low_freq_factor: 1,
  original_max_position_embeddings: 8192,
  rope_type: 'llama3',
};

const text = (name: string, config: PublishedModel['config'], parameters: number, source: Source): PublishedModel => ({
  name,
  config,
  parameters,
  counted: 'text',
  source,
});

export const publishedModels: readonly PublishedModel[] = [
  { name: 'deepseek-ai/DeepSeek-V2', ...V2 },
  { name: 'deepseek-ai/DeepSeek-V2.5', ...V2 },
  { name: 'deepseek-ai/DeepSeek-Coder-V2-Instruct', ...V2 },
  { name: 'deepseek-ai/DeepSeek-V2-Lite', ...V2_LITE },
  { name: 'deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct', ...V2_LITE },
  { name: 'deepseek-ai/DeepSeek-V3', ...V3 },
  { name: 'deepseek-ai/DeepSeek-V3.1', ...V3 },
  { name: 'deepseek-ai/DeepSeek-R1-0528', ...V3 },
  text('moonshotai/Moonlight-16B-A3B-Instruct', 'Moonlight-16B-A3B', 15_960_111_936, 'hub'),
  text('moonshotai/Kimi-K2-Instruct', kimiFp8, 1_026_408_232_448, 'hub'),
  text('moonshotai/Kimi-K2-Base', kimiText, 1_026_408_232_448, 'hub'),
  text('moonshotai/Kimi-K2.5', kimiK25, 1_026_408_232_448, 'hub'),
  { name: 'Qwen/Qwen3-30B-A3B', ...QWEN3_30B },
  { name: 'Qwen/Qwen3-30B-A3B-Instruct-2507', ...QWEN3_30B },
  { name: 'Qwen/Qwen3-235B-A22B', ...QWEN3_235B },
  { name: 'Qwen/Qwen3-235B-A22B-Thinking-2507', ...QWEN3_235B },
  text('Qwen/Qwen3-Coder-480B-A35B-Instruct', qwen3Coder480b, 480_154_875_392, 'hub'),
  text('Qwen/Qwen1.5-MoE-A2.7B', qwen2Moe, 14_315_784_192, 'hub'),
  text('allenai/OLMoE-1B-7B-0924', 'OLMoE-1B-7B-0924', 6_919_161_856, 'hub'),
  text('mistralai/Mixtral-8x7B-Instruct-v0.1', 'Mixtral-8x7B-v0.1', 46_702_792_704, 'hub'),
  text('mistralai/Mixtral-8x22B-v0.1', mixtral8x22b, 140_620_634_112, 'hub'),
  text('openai/gpt-oss-20b', gptOss(24, 32), 20_914_757_184, 'hub'),
  text('openai/gpt-oss-120b', gptOss(36, 128), 116_829_156_672, 'hub'),
  { name: 'zai-org/GLM-4.5', config: glm45, parameters: 356_785_898_816, counted: 'text and MTP', source: 'hub' },
  { name: 'zai-org/GLM-4.6', config: glm45, parameters: 356_785_898_816, counted: 'text and MTP', source: 'hub' },
  { name: 'zai-org/GLM-4.7', config: glm45, parameters: 356_785_898_816, counted: 'text and MTP', source: 'hub' },
  text('zai-org/GLM-4.5-Air', glm45Air, 106_852_251_264, 'hub'),
  text('zai-org/GLM-4.7-Flash', glm47Flash, 29_943_393_920, 'gguf'),
  text('MiniMaxAI/MiniMax-M2', miniMaxM2, 228_689_764_864, 'hub'),
  text('MiniMaxAI/MiniMax-M2.5', miniMaxM2, 228_689_764_864, 'hub'),
  text('meta-llama/Llama-4-Scout-17B-16E-Instruct', llama4(16, 1, SCOUT_SCALING), 107_769_861_120, 'transformers'),
  text('meta-llama/Llama-4-Maverick-17B-128E-Instruct', llama4(128, 2, null), 400_711_848_960, 'transformers'),
  text('ibm-granite/granite-3.1-1b-a400m-instruct', granite, 1_334_628_352, 'hub'),
  text('ibm-granite/granite-3.1-3b-a800m-instruct', granite3b, 3_298_793_472, 'hub'),
  text('baidu/ERNIE-4.5-21B-A3B-PT', ernie45, 21_825_437_888, 'transformers'),
  text('baidu/ERNIE-4.5-300B-A47B-PT', ernie45Large, 299_484_163_264, 'transformers'),
  text('tencent/Hunyuan-A13B-Instruct', hunyuanA13b, 80_393_183_232, 'transformers'),
  text('rednote-hilab/dots.llm1.inst', dotsLlm1, 142_774_381_696, 'transformers'),
  text('nomic-ai/nomic-embed-text-v2-moe', nomicEmbed, 475_292_928, 'hub'),
  text('google/switch-base-8', switchBase(8), 619_339_008, 'transformers'),
  text('google/switch-base-128', switchBase(128), 7_415_217_408, 'transformers'),
  text('google/switch-large-128', switchLarge, 26_309_291_008, 'transformers'),
  text('google/switch-c-2048', switchC, 1_571_308_972_448, 'transformers'),
  text('facebook/nllb-moe-54b', nllbMoe54b, 54_500_569_088, 'transformers'),
];

/** Dense ones, which only draft. Without the head that files of Qwen3 store beside the embedding, which is the same. */
export const draftModels: readonly PublishedModel[] = [
  text('Qwen/Qwen3-0.6B', qwen3(1024), 596_049_920, 'transformers'),
  text('Qwen/Qwen3-1.7B', qwen3(2048), 1_720_574_976, 'transformers'),
  text('meta-llama/Llama-3.1-8B-Instruct', llama31, 8_030_261_248, 'transformers'),
];

/** A model's config, parsed. */
export function configOf({ name, config }: PublishedModel): ModelConfig {
  if (typeof config !== 'string') return parseModelConfig(config, name);
  const file = join(import.meta.dirname, `../published-configs/${config}.json`);
  return parseModelConfig(JSON.parse(readFileSync(file, 'utf8')), name);
}

const only = (model_type: string, architecture: string) => ({ model_type, architectures: [architecture] });

export const refusedModels: readonly RefusedModel[] = [
  { name: 'Qwen/Qwen3-Next-80B-A3B-Instruct', config: only('qwen3_next', 'Qwen3NextForCausalLM'), because: 'linear' },
  {
    name: 'Qwen/Qwen3.5-35B-A3B',
    config: only('qwen3_5_moe', 'Qwen3_5MoeForConditionalGeneration'),
    because: 'linear attention',
  },
  { name: 'Qwen/Qwen2.5-7B-Instruct', config: only('qwen2', 'Qwen2ForCausalLM'), because: 'dense model' },
  {
    name: 'Qwen/Qwen3-VL-30B-A3B-Instruct',
    config: only('qwen3_vl_moe', 'Qwen3VLMoeForConditionalGeneration'),
    because: 'takes images',
  },
  { name: 'mistralai/Mistral-7B-Instruct-v0.3', config: only('mistral', 'MistralForCausalLM'), because: 'dense model' },
  { name: 'deepseek-ai/DeepSeek-V3.2', config: only('deepseek_v32', 'DeepseekV32ForCausalLM'), because: 'indexer' },
  { name: 'deepseek-ai/DeepSeek-V4-Flash', config: only('deepseek_v4', 'DeepseekV4ForCausalLM'), because: 'indexer' },
  { name: 'zai-org/GLM-5', config: only('glm_moe_dsa', 'GlmMoeDsaForCausalLM'), because: 'indexer' },
  {
    name: 'moonshotai/Kimi-K3',
    config: only('kimi_k3', 'KimiK3ForConditionalGeneration'),
    because: 'linear attention',
  },
  {
    name: 'nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16',
    config: only('nemotron_h', 'NemotronHForCausalLM'),
    because: 'state-space',
  },
  { name: 'LiquidAI/LFM2-8B-A1B', config: only('lfm2_moe', 'Lfm2MoeForCausalLM'), because: 'convolution' },
  { name: 'microsoft/Phi-3.5-MoE-instruct', config: only('phimoe', 'PhiMoEForCausalLM'), because: 'SparseMixer' },
  { name: 'google/gemma-4-26B-A4B-it', config: only('gemma4', 'Gemma4ForConditionalGeneration'), because: 'caps' },
  { name: 'XiaomiMiMo/MiMo-V2-Flash', config: only('mimo_v2_flash', 'MiMoV2FlashForCausalLM'), because: 'heads' },
  { name: 'stepfun-ai/Step-3.7-Flash', config: only('step3p7', 'Step3p7FlashForCausalLM'), because: 'heads' },
  {
    name: 'meituan-longcat/LongCat-Flash-Chat',
    config: only('longcat_flash', 'LongcatFlashForCausalLM'),
    because: 'two attentions',
  },
  { name: 'google-t5/t5-base', config: only('t5', 'T5ForConditionalGeneration'), because: 'encoder–decoder' },
];
