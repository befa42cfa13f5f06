import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint } from '@shoal/model/node';
import { deepseek2Tensors } from '../node/gguf/deepseek2-tensors.ts';
import { exportMetadata } from '../node/gguf/export.ts';
import { type GgufValue, writeGguf } from '../node/gguf/writer.ts';
import { writeSmallModel } from './small-model.ts';

/** A tokenizer of single letters that splits words as GPT-2 does. */
const TOKENIZER = {
  normalizer: null,
  post_processor: null,
  added_tokens: [{ id: 0, content: '<|endoftext|>', special: true, normalized: false }],
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
  decoder: { type: 'ByteLevel' },
  model: {
    type: 'BPE',
    vocab: Object.fromEntries(['<|endoftext|>', ...'abcdefghijklmn', 'ab'].map((token, id) => [token, id])),
    merges: ['a b'],
  },
};

/** Writes the small model into `dir/NAME`, with a tokenizer, and returns that directory. */
export async function writeSmallCheckpoint(dir: string, name = 'small'): Promise<string> {
  const modelDir = join(dir, name);
  await writeSmallModel(modelDir);
  await writeFile(join(modelDir, 'tokenizer.json'), JSON.stringify(TOKENIZER));
  await writeFile(join(modelDir, 'tokenizer_config.json'), JSON.stringify({ eos_token: '<|endoftext|>' }));
  return modelDir;
}

/** Writes a checkpoint as GGUF files in float32, `parts` of them in the names of split models. Returns the first one's path. */
export async function writeGgufParts(modelDir: string, dir: string, parts: number): Promise<string> {
  await mkdir(dir, { recursive: true });
  const checkpoint = await openCheckpoint(modelDir);
  const own = await exportMetadata(modelDir, 'small');
  const tensors = deepseek2Tensors(checkpoint.config, checkpoint, 'f32');
  const digits = (number: number): string => `${number}`.padStart(5, '0');
  const pathOf = (part: number): string => join(dir, `small-${digits(part + 1)}-of-${digits(parts)}.gguf`);
  try {
    for (let part = 0; part < parts; part++) {
      const [first, end] = [part, part + 1].map((index) => Math.round((index * tensors.length) / parts));
      // As gguf-split writes them: only the first part has the model's metadata.
      const split = Object.entries({ no: part, count: parts, 'tensors.count': tensors.length });
      const metadata = new Map<string, GgufValue>([
        ...(part === 0 ? own : []),
        ...split.map(([key, value]) => [`split.${key}`, { type: 'u32', value }] as const),
      ]);
      await writeGguf(pathOf(part), { metadata, tensors: tensors.slice(first, end) });
    }
  } finally {
    await checkpoint.close();
  }
  return pathOf(0);
}
