import { WeightsError } from '../../errors.ts';
import { MANIFEST_FILE, SHARD_DIR } from '../files.ts';

const SAFETENSORS = /\.safetensors(\.index\.json)?$/;
const GGUF = /\.gguf$/;

/** What a directory or repository is, by the names of its files, where it is none that can be served. */
const KINDS: readonly { is: (names: readonly string[]) => boolean; text: (names: readonly string[]) => string }[] = [
  {
    is: (names) => names.includes(MANIFEST_FILE) && names.includes(SHARD_DIR),
    text: () => 'holds a packed model, which has no checkpoint in it: give the checkpoint that it was packed from',
  },
  {
    is: (names) => names.includes('adapter_config.json') && !names.some(isWholeModel),
    text: () =>
      'holds a LoRA adapter, which changes another model and is none by itself: merge it into its base model ' +
      '(peft: merge_and_unload, then save_pretrained), and give that directory, or serve the base model with --adapter NAME=DIR',
  },
  {
    is: (names) => names.includes('model_index.json') && !names.includes('config.json'),
    text: () => 'holds a diffusers pipeline (model_index.json), which makes images or sounds: give a language model',
  },
  {
    // With a config.json its model_type decides.
    is: (names) => names.includes('modules.json') && !names.includes('config.json'),
    text: () =>
      'holds the parts of a sentence-transformers model (modules.json): give the folder of its transformer, if that is one that is served',
  },
  {
    is: (names) => names.some((name) => GGUF.test(name)) && !names.some((name) => SAFETENSORS.test(name)),
    text: (names) => {
      const files = names.filter((name) => GGUF.test(name) && !/-0*([2-9]|[1-9]\d+)-of-\d+\.gguf$/.test(name)).sort();
      const shown = files.slice(0, 8).join(', ');
      return `holds GGUF files alone: give the path of one of them (${shown}${files.length > 8 ? ', …' : ''}), from a hub after a download`;
    },
  },
  {
    is: (names) =>
      names.some((name) => /^(pytorch_model.*|consolidated.*|model)\.(bin|pth|pt)$|\.bin\.index\.json$/.test(name)) &&
      !names.some((name) => SAFETENSORS.test(name)),
    text: () =>
      'holds its weights as PyTorch pickles (*.bin), which can run code when they are read, so Shoal does not read them: convert ' +
      'them to safetensors (transformers: from_pretrained, then save_pretrained), or look for a repository that has them so',
  },
  {
    is: (names) =>
      names.some((name) => /\.(msgpack|h5|onnx|ot)$/.test(name)) && !names.some((name) => SAFETENSORS.test(name)),
    text: () => 'has no safetensors, only weights of Flax, TensorFlow, Rust or ONNX: convert them to safetensors',
  },
  {
    is: (names) =>
      names.includes('config.json') && names.includes('consolidated.safetensors') && !names.some(isWholeModel),
    text: () =>
      "has its weights in Mistral's own names alone (consolidated.safetensors): give the version for transformers",
  },
];

const isWholeModel = (name: string): boolean => /^model(-[\w-]+)?\.safetensors(\.index\.json)?$/.test(name);

/** Throws WeightsError `bad-model` where the files are those of something else than a checkpoint, with what to do about it. */
export function refuseKind(names: readonly string[], where: string): void {
  const kind = KINDS.find(({ is }) => is(names));
  if (kind) throw new WeightsError('bad-model', `${where} ${kind.text(names)}`);
}
