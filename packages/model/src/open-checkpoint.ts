import { type Checkpoint, openDirectory } from './checkpoint.ts';
import { openGguf } from './gguf/checkpoint.ts';

/** Opens a model's weights: a Hugging Face directory, or a GGUF file (the first, where it is split). */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  return path.endsWith('.gguf') ? openGguf(path) : openDirectory(path);
}
