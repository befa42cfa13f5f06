import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT_DIR } from '../coordinator/src/config.ts';
import { planDraftModel, planServing } from '../coordinator/src/cli/capacity.ts';
import { formatBytes } from '../coordinator/src/cli/progress.ts';
import {
  type AttentionConfig,
  type GateConfig,
  type ModelConfig,
  parseModelConfig,
} from '../packages/model/src/index.ts';
import { families } from '../packages/model/src/families/index.ts';
import { chooseFormats } from '../packages/weights/src/index.ts';
import {
  configOf,
  draftModels,
  type PublishedModel,
  publishedModels,
  refusedModels,
} from '../packages/model/src/testing/published-models/index.ts';

const FILE = join(ROOT_DIR, 'docs/MODELS.md');
const FIXTURES = ['families', 'encoders', 'seq2seq'].map((folder) => join(ROOT_DIR, 'test/golden/fixtures', folder));
const BEGIN = '<!-- models: written by tools/models-doc.ts -->';
const END = '<!-- models: end -->';

const GIB = 2 ** 30;
/** Sizes and speeds that the table doesn't show. */
const PLAN = { replicas: 1, rttMs: 20, contextTokens: 4096, bandwidthBytesPerS: 1e10 } as const;

interface Entry {
  name: string;
  config: ModelConfig;
}

/** The tables of docs/MODELS.md. */
export function modelsMarkdown(): string {
  const entries = publishedModels.map((model): Entry => ({ name: model.name, config: configOf(model) }));
  const served = entries.map((entry) => row(entry));
  const checked = [...families.keys()].map((type) => [`\`${type}\``, fixturesOf(type)]);
  const refused = refusedModels.map(({ name, config }) => [name, reasonOf(config)]);
  return [
    '## Published models that are served',
    '',
    'Laps and tabs are what `shoal plan` says: tabs lend 1 GiB and hold one copy of each expert, as q4 (gpt-oss as MXFP4).',
    '',
    ...table(['model', 'family', 'attention', 'gate', 'laps a token', 'tabs of 1 GiB'], served),
    '',
    '## Published dense models, which draft',
    '',
    'A dense model has nothing for tabs to hold, so it is not served: `--draft-model` has it draft for one that is and has the same',
    'tokenizer. The coordinator holds all of it, as q8.',
    '',
    ...table(['model', 'family', 'attention', 'weights as q8', 'KV cache a token'], draftModels.map(draftRow)),
    '',
    '## What each family is checked with',
    '',
    'Small random checkpoints, saved and computed by transformers 5.24 (`test/golden/make/families`): logits at every position',
    'of three sequences, experts and their weights in every layer, greedy answers. An encoder is computed by an independent',
    'implementation (`test/golden/make/encoders`): hidden states at every position, embeddings, and the tokens of texts. Of an',
    'encoder–decoder (`test/golden/make/seq2seq`): hidden states of both stacks and logits at every position, which rows each expert has',
    'dropped, greedy answers, and the tokens of texts; for NLLB with a dispatch of our own, since that of transformers 5.24 is faulty.',
    '',
    ...table(['family', 'checkpoints'], checked),
    '',
    '## Published models that are refused',
    '',
    ...table(['model', 'since it'], refused),
    '',
  ].join('\n');
}

function row({ name, config }: Entry): string[] {
  const plan = planServing({
    ...PLAN,
    config,
    ...chooseFormats(config, { quant: 'auto', denseQuant: 'auto' }),
    tabBytes: GIB,
  });
  const { lapsPerToken, tabs } = plan;
  const type = `\`${config.modelType}\``;
  return [name, type, attentionText(config), gateText(config), String(lapsPerToken), String(tabs.count)];
}

function draftRow(model: PublishedModel): string[] {
  const config = configOf(model);
  const { weightsBytes, kvBytesPerToken } = planDraftModel(config, { contextTokens: 1 });
  const size = formatBytes(weightsBytes);
  return [
    model.name,
    `\`${config.modelType}\``,
    attentionText(config),
    size,
    `${Math.round(kvBytesPerToken / 1024)} KiB`,
  ];
}

const POSITIONS = { buckets: 'biases by distance', sinusoid: 'sinusoids' } as const;

function attentionText({ attention, layerAttention, rope, seq2seq }: ModelConfig): string {
  const spans = new Set(
    layerAttention.map(({ span }) => (span.kind === 'full' ? 'full' : `${span.kind} of ${span.positions}`)),
  );
  const extras = [
    ...(spans.size > 1 || !spans.has('full') ? [[...spans].join(' and ')] : []),
    ...(layerAttention.some((layer) => !layer.rope)
      ? [seq2seq ? POSITIONS[seq2seq.positions.kind] : 'layers without RoPE']
      : []),
    ...(attention.kind === 'gqa' ? gqaExtras(attention, rope.dim) : []),
  ];
  return [attention.kind.toUpperCase(), ...extras].join(', ');
}

function gqaExtras({ sinks, bias, headDim }: Extract<AttentionConfig, { kind: 'gqa' }>, ropeDim: number): string[] {
  return [
    ...(sinks ? ['sinks'] : []),
    ...(bias.qkv || bias.o ? ['biases'] : []),
    ...(ropeDim > 0 && ropeDim < headDim ? ['partial RoPE'] : []),
  ];
}

function gateText({ gate, numExpertsPerTok, nRoutedExperts, sharedIntermediateSize, seq2seq }: ModelConfig): string {
  const parts = [
    `${gate.scoring} top ${numExpertsPerTok} of ${nRoutedExperts}`,
    ...(seq2seq ? ['a capacity in the encoder'] : []),
    ...groupText(gate),
    ...(gate.hasBias ? ['bias-corrected'] : []),
    ...(gate.scalesInput ? ['weights the input'] : []),
    ...(sharedIntermediateSize > 0 ? ['shared expert'] : []),
  ];
  return parts.join(', ');
}

function groupText({ nGroup, topkGroup }: GateConfig): string[] {
  return topkGroup < nGroup ? [`${topkGroup} of ${nGroup} groups`] : [];
}

/** Fixtures of a family, with what they are for. */
function fixturesOf(modelType: string): string {
  const lines = FIXTURES.flatMap((folder) =>
    readdirSync(folder)
      .sort()
      .flatMap((name) => {
        const json = (file: string): unknown => JSON.parse(readFileSync(join(folder, name, file), 'utf8'));
        const config = json('config.json') as { model_type: string };
        const { about } = json('reference.json') as { about: string };
        return config.model_type === modelType ? [`\`${name}\`: ${about}`] : [];
      }),
  );
  return lines.join('<br>') || 'by its architecture, which is that of another family';
}

function reasonOf(config: unknown): string {
  try {
    parseModelConfig(config);
  } catch (error) {
    const reason = /, since it (.*?); supported: /.exec(String(error))?.[1];
    if (reason !== undefined) return reason;
  }
  throw new Error(`${JSON.stringify(config)} is served, or is refused without a reason`);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)];
}

/** Puts the tables between the document's markers. Throws if a marker is missing. */
function withTables(document: string): string {
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`${relative(ROOT_DIR, FILE)} needs the lines ${BEGIN} and ${END}`);
  return `${document.slice(0, begin)}${BEGIN}\n\n${modelsMarkdown()}\n${document.slice(end)}`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const document = readFileSync(FILE, 'utf8');
  const wanted = withTables(document);
  if (!process.argv.includes('--check')) writeFileSync(FILE, wanted);
  else if (document !== wanted) {
    const command = 'node --import tsx tools/models-doc.ts';
    process.stderr.write(`The tables of ${relative(ROOT_DIR, FILE)} are not what the code says. Run: ${command}\n`);
    process.exitCode = 1;
  }
}
