import { cp, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  expertTensors,
  listDenseTensors,
  listTensorSpecs,
  loadDenseWeights,
  loadExpert,
  moeLayers,
  parseHeader,
  PREFIX_BYTES,
  readHeaderLength,
  type TensorTable,
} from '@shoal/model';
import { loadGenerationConfig, loadTokenizer, openCheckpoint } from '@shoal/model/node';
import { fixtureDir } from './families.ts';

const CONFIG = 'config.json';
const INDEX = 'model.safetensors.index.json';

/** One way to damage a model directory. */
export interface Mutation {
  what: string;
  /** Damages the copy in `dir`. */
  apply(dir: string): Promise<void>;
  /** The error must name one of these and the file: a key, a tensor, or just the file if nothing else is left. */
  names: string[];
  /** Files that the error may name: where the damage lies, or where it shows. */
  files: string[];
}

/** Read a model as serving and packing do between them: config, tokenizer and every single tensor. */
export async function readWholeModel(dir: string): Promise<void> {
  const checkpoint = await openCheckpoint(dir);
  try {
    const { config } = checkpoint;
    checkpoint.check();
    await loadTokenizer(dir);
    await loadGenerationConfig(dir);
    await loadDenseWeights(config, checkpoint);
    for (const layer of moeLayers(config)) {
      for (let expert = 0; expert < config.nRoutedExperts; expert++)
        await loadExpert(config, checkpoint, layer, expert);
    }
  } finally {
    await checkpoint.close();
  }
}

/** A copy of a fixture to damage. */
export async function copyFixture(name: string, to: string): Promise<void> {
  await cp(fixtureDir(name), to, { recursive: true });
}

type Json = Record<string, unknown>;

async function editJson(path: string, edit: (json: Json) => void): Promise<void> {
  const json = JSON.parse(await readFile(path, 'utf8')) as Json;
  edit(json);
  await writeFile(path, JSON.stringify(json));
}

type Rng = () => number;
const pick = <T>(rng: Rng, list: readonly T[]): T => list[Math.floor(rng() * list.length)]!;

/** Keys whose every change of value contradicts the stored tensors; which tensor shows it depends on the family. */
const DIMENSIONS = ['vocab_size', 'hidden_size', 'num_hidden_layers'];
const REQUIRED = ['model_type', 'architectures', 'num_experts_per_tok', 'rms_norm_eps', 'hidden_act', 'eos_token_id'];

/** A damaged config.json; `shards` are the files whose tensors may show it. */
export function configMutation(rng: Rng, shards: readonly string[]): Mutation {
  const mutation = (key: string, what: string, edit: (json: Json) => void, names = [key]): Mutation => ({
    what: `config.json: ${key} ${what}`,
    apply: (dir) => editJson(join(dir, CONFIG), edit),
    names,
    files: [CONFIG, INDEX, ...shards],
  });
  const required = pick(rng, [...REQUIRED, ...DIMENSIONS]);
  const dimension = pick(rng, DIMENSIONS);
  const by = pick(rng, [-1, 1, 2]);
  const bad = pick<unknown>(rng, ['48', -1, 0, 1.5, null, [], {}, true, 1e300]);
  return pick(rng, [
    () => mutation(required, 'is missing', (json) => delete json[required]),
    () => mutation(dimension, `is ${JSON.stringify(bad)}`, (json) => (json[dimension] = bad)),
    () =>
      mutation(dimension, `is off by ${by}`, (json) => (json[dimension] = (json[dimension] as number) + by), [
        'model.',
        'lm_head.',
        // 47 and 49 are not multiples of the heads.
        'num_attention_heads',
      ]),
    () => mutation('hidden_act', 'is another', (json) => (json['hidden_act'] = pick(rng, ['gelu', 'relu', 'swiglu']))),
    () => mutation('logit_scale', 'is unknown', (json) => (json['logit_scale'] = rng())),
    () => mutation('attention_bias', 'is true', (json) => (json['attention_bias'] = true)),
    () => mutation('eos_token_id', 'is outside', (json) => (json['eos_token_id'] = 112 + Math.floor(rng() * 1000))),
    () => mutation('rope_parameters', 'is unknown', (json) => (json['rope_parameters'] = { rope_type: 'longrope' })),
  ])();
}

/** A damaged index. */
export function indexMutation(rng: Rng, weightMap: Record<string, string>): Mutation {
  const tensor = pick(rng, Object.keys(weightMap));
  const shards = [...new Set(Object.values(weightMap))];
  const other = pick(
    rng,
    shards.filter((shard) => shard !== weightMap[tensor]),
  );
  const edit = (
    what: string,
    change: (map: Record<string, string>, json: Json) => void,
    names = [tensor],
  ): Mutation => ({
    what: `index: ${what}`,
    apply: (dir) => editJson(join(dir, INDEX), (json) => change(json['weight_map'] as Record<string, string>, json)),
    names,
    files: [INDEX, ...shards],
  });
  return pick(rng, [
    () => edit(`${tensor} is left out`, (map) => delete map[tensor]),
    () => edit(`${tensor} is said to be elsewhere`, (map) => (map[tensor] = other)),
    () =>
      edit(`${tensor} is in a file that is not there`, (map) => (map[tensor] = 'model-9.safetensors'), [
        tensor,
        'model-9',
      ]),
    () => edit(`${tensor} is outside the folder`, (map) => (map[tensor] = `../${weightMap[tensor]}`)),
    () => edit('a tensor that is not stored', (map) => (map['model.layers.9.x'] = other), ['model.layers.9.x']),
    () => edit('no weight_map', (_, json) => delete json['weight_map'], ['weight_map']),
    () => edit('weight_map is a list', (_, json) => (json['weight_map'] = [other]), ['weight_map']),
    () => edit(`${tensor} has a number`, (map) => ((map as Json)[tensor] = 3), ['weight_map']),
  ])();
}

export interface WeightsFile {
  file: string;
  header: string;
  table: TensorTable;
}

export async function readWeightsFile(dir: string, file: string): Promise<WeightsFile> {
  const bytes = await readFile(join(dir, file));
  const length = readHeaderLength(bytes.subarray(0, PREFIX_BYTES), bytes.byteLength, file);
  const header = bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + length);
  return { file, header: header.toString('utf8'), table: parseHeader(header, bytes.byteLength, file) };
}

/** A damaged header: one byte of one tensor's entry, or of the length before it. */
export function headerMutation(rng: Rng, { file, header, table }: WeightsFile): Mutation {
  const tensor = pick(rng, [...table.keys()]);
  const overwrite = (what: string, at: number, text: string, names: string[]): Mutation => ({
    what: `${file}: ${what}`,
    apply: async (dir) => {
      const bytes = await readFile(join(dir, file));
      bytes.write(text, at, 'latin1');
      await writeFile(join(dir, file), bytes);
    },
    names,
    files: [file, INDEX],
  });
  const start = header.indexOf(`"${tensor}"`);
  const entry = header.slice(start, header.indexOf('}', start) + 1);
  const inEntry = (part: string): number => PREFIX_BYTES + start + entry.indexOf(part) + part.length;
  const [digit, other] = pick(rng, [
    ['1', '2'],
    ['3', '4'],
    ['5', '6'],
    ['7', '8'],
  ] as const);
  return pick(rng, [
    () => overwrite(`name of ${tensor}`, inEntry('model.') - 1, '_', [tensor.replace('model.', ''), tensor, 'model_']),
    () => overwrite(`dtype of ${tensor}`, inEntry('"dtype":"'), 'X', [tensor]),
    () =>
      overwrite(`shape of ${tensor}`, inEntry('"shape":['), entry.includes(`"shape":[${digit}`) ? other : digit, [
        tensor,
      ]),
    () => overwrite(`offsets of ${tensor}`, inEntry('"data_offsets":['), '-', [tensor]),
    () => overwrite(`brace of ${tensor}`, PREFIX_BYTES + start + entry.length - 1, ' ', ['header']),
    () => overwrite(`quote of ${tensor}`, PREFIX_BYTES + start, ' ', ['header']),
    () => overwrite('length of the header', Math.floor(rng() * 7) + 1, '\u00ff', ['header']),
    () => overwrite('an invalid character', inEntry('"shape"') - 2, '\u00ff', ['header']),
  ])();
}

/** Damaged data: a NaN or infinity, or missing or extra bytes. */
export function dataMutation(rng: Rng, { file, table }: WeightsFile): Mutation {
  const tensor = pick(rng, [...table.keys()]);
  const { offset, bytes } = table.get(tensor)!;
  const element = offset + 2 * Math.floor((rng() * bytes) / 2);
  const poison = (what: string, bf16: number): Mutation => ({
    what: `${file}: ${what} in ${tensor}`,
    apply: async (dir) => {
      const data = await readFile(join(dir, file));
      data.writeUInt16LE(bf16, element);
      await writeFile(join(dir, file), data);
    },
    names: [tensor],
    files: [file],
  });
  const last = [...table].sort(([, a], [, b]) => b.offset - a.offset)[0]!;
  const missing = 1 + Math.floor(rng() * last[1].bytes);
  const whole = last[1].offset + last[1].bytes;
  return pick(rng, [
    () => poison('NaN', 0x7fc0),
    () => poison('a signalling NaN', 0xff81),
    () => poison('∞', 0x7f80),
    () => poison('−∞', 0xff80),
    (): Mutation => ({
      what: `${file}: ${missing} bytes cut off`,
      apply: (dir) => truncate(join(dir, file), whole - missing),
      names: [last[0]],
      files: [file],
    }),
    (): Mutation => ({
      what: `${file}: ${missing} bytes too many`,
      apply: (dir) => truncate(join(dir, file), whole + missing),
      names: [`${missing} bytes that belong to no tensor`],
      files: [file],
    }),
  ])();
}

/** Names of every tensor that the fixture's config requires. */
export async function expectedTensors(name: string): Promise<string[]> {
  const checkpoint = await openCheckpoint(fixtureDir(name));
  await checkpoint.close();
  const { config } = checkpoint;
  const experts = moeLayers(config).flatMap((layer) =>
    Array.from({ length: config.nRoutedExperts }, (_, expert) => expertTensors(config, layer, expert)),
  );
  return [...listDenseTensors(config), ...listTensorSpecs(experts)].map(({ stored }) => stored.name);
}
