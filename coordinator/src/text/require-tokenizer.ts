import { readTokenizerFiles, tokenizerFrom } from '@shoal/model/node';
import type { ModelSource } from '@shoal/weights/node';

/** Reads a model's tokenizer before anything large is fetched or packed for it. Throws a ModelError where it cannot be read. */
export async function requireTokenizer(source: ModelSource): Promise<void> {
  const dir = await source.metaDir();
  // The files of a GGUF are made from its header, which fails where they could not be read.
  if (dir === undefined) await source.files();
  else tokenizerFrom(await readTokenizerFiles(dir));
}
