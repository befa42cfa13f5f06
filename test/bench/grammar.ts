import { join } from 'node:path';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { createRng, type Rng } from '@shoal/model';
import { loadTokenizer } from '@shoal/model/node';
import { GrammarHost } from '../../coordinator/src/grammar/grammar-host.ts';
import { type GrammarSource, Grammars, type Vocabulary, vocabularyFrom } from '../../coordinator/src/grammar/index.ts';
import { bytesOfToken } from '../../coordinator/src/grammar/vocabulary.ts';
import type { TokenConstraint } from '../../coordinator/src/scheduler/token-constraint.ts';
import { isAllowed } from '../integration/constrained-walk.ts';
import { HOSTILE_SCHEMAS } from '../integration/hostile-schemas.ts';
import { formatTable } from './table.ts';

const VOCABULARY = 151_936;
const STREAMS = 64;
const TURNS = 50;
const TOKENS = 40;

const object = (properties: object): GrammarSource => ({
  kind: 'json-schema',
  schema: { type: 'object', properties, required: Object.keys(properties) },
});
const SOURCES: readonly (readonly [string, GrammarSource])[] = [
  ['any JSON object', { kind: 'json-object' }],
  ['strings', object({ name: { type: 'string' }, tags: { type: 'array', items: { type: 'string' } } })],
  ['maxLength: 20', object({ name: { type: 'string', minLength: 3, maxLength: 20 } })],
  ['maxLength: 200', object({ name: { type: 'string', minLength: 20, maxLength: 200 } })],
  ['pattern', object({ name: { type: 'string', pattern: '^[a-z]{1,200}$' } })],
  [
    '100 optional properties',
    {
      kind: 'json-schema',
      schema: {
        type: 'object',
        properties: Object.fromEntries(
          Array.from({ length: 100 }, (_, index) => [`property${index}`, { type: 'string' }]),
        ),
      },
    },
  ],
  [
    'bounded numbers',
    {
      kind: 'json-schema',
      schema: { type: 'array', items: { type: 'number', minimum: -9.5, maximum: 77.25 }, minItems: 3 },
    },
  ],
  [
    '5,000 choices',
    {
      kind: 'choice',
      choices: Array.from({ length: 5_000 }, (_, index) => `value number ${(index * 7_919) % 10_007}`),
    },
  ],
];

/** What a mask costs at a large vocabulary, what 64 answers under grammars do to the event loop, and hostile schemas. */
export async function benchGrammar({ json }: { json: boolean }): Promise<void> {
  const vocabulary = await largeVocabulary();
  const began = performance.now();
  const host = new GrammarHost(vocabulary);
  const treeMs = performance.now() - began;
  const masks = SOURCES.map(([name, source], index) => ({ name, ...measureMasks(host, vocabulary, source, index) }));
  const streams = await measureStreams(vocabulary);
  const hostile = measureHostile(host);
  const result = { vocabulary: VOCABULARY, treeMs, masks, streams, hostile };
  if (json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  else process.stdout.write(`${report(result)}\n`);
}

/** All bytes, then words and pairs of words of the default model's tokenizer, numbers and pairs of ideographs. */
async function largeVocabulary(): Promise<Vocabulary> {
  const tokenizer = await loadTokenizer(join(import.meta.dirname, '../../models/tiny-stories'));
  const texts = Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.tokenText(id) ?? '').filter(Boolean);
  const tokens = new Set([...texts, ...Array.from({ length: 1_000 }, (_, number) => String(number))]);
  const rng = createRng(7);
  const pick = (): string => texts[Math.floor(rng() * texts.length)]!;
  const marks = ['"', ' "', '":', '",', '{"', '"}', '},', ' {', '\n\n', '\n    ', '    ', '[]', '();'];
  const ideograph = (): string => String.fromCodePoint(0x4e00 + Math.floor(rng() * 20_000));
  for (const mark of marks) tokens.add(mark);
  while (tokens.size < VOCABULARY - 257) {
    const kind = rng();
    if (kind < 0.7) tokens.add(pick() + pick().trimStart());
    else if (kind < 0.9) tokens.add(ideograph() + (rng() < 0.5 ? ideograph() : ''));
    else tokens.add(pick() + marks[Math.floor(rng() * marks.length)]!);
  }
  const bytes = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  const all = [
    Uint8Array.from(Buffer.from('<end>')),
    ...bytes,
    ...Array.from(tokens, (text) => Uint8Array.from(Buffer.from(text))),
  ];
  return vocabularyFrom(all, [0], [0]);
}

/** A token that may come, found from a random place on. */
function drawn(mask: Uint32Array | undefined, vocabulary: Vocabulary, rng: Rng): number {
  for (let id = Math.floor(rng() * vocabulary.size), tries = 0; tries < vocabulary.size; tries++, id++)
    if (isAllowed(mask, id % vocabulary.size)) return id % vocabulary.size;
  throw new Error('a mask that allows nothing');
}

const quantile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))]!;

function measureMasks(host: GrammarHost, vocabulary: Vocabulary, source: GrammarSource, grammar: number) {
  const rng = createRng(grammar);
  let began = performance.now();
  host.obey([{ kind: 'compile', reply: 0, grammar, source }]);
  const compileMs = performance.now() - began;
  const firstMs: number[] = [];
  for (let session = 0; session < 4; session++) {
    host.obey([{ kind: 'open', session, grammar, after: '' }]);
    for (let token = 0; token < TOKENS; token++) {
      began = performance.now();
      const [reply] = host.obey([{ kind: 'masks', reply: 0, session, drafts: [] }]);
      firstMs.push(performance.now() - began);
      if (!reply || !('value' in reply) || typeof reply.value === 'number') throw new Error(JSON.stringify(reply));
      const id = drawn(reply.value[0], vocabulary, rng);
      if (vocabulary.endIds.includes(id) || bytesOfToken(vocabulary, id).length === 0) break;
      host.obey([{ kind: 'accept', session, token: id }]);
    }
    host.obey([{ kind: 'close', session }]);
  }
  const meanMs = firstMs.reduce((sum, ms) => sum + ms, 0) / firstMs.length;
  return { compileMs, masks: firstMs.length, meanMs, p50Ms: quantile(firstMs, 0.5), p99Ms: quantile(firstMs, 0.99) };
}

/** All answers ask for a mask in each turn, as before a pass. */
async function measureStreams(vocabulary: Vocabulary) {
  const grammars = new Grammars({ vocabulary });
  const compiled = await Promise.all(SOURCES.slice(0, 5).map(([, source]) => grammars.compile(source)));
  const open = (index: number): TokenConstraint => compiled[index % compiled.length]!.open();
  const rng = createRng(1);
  const streams = Array.from({ length: STREAMS }, (_, index) => open(index));
  const turnMs: number[] = [];
  let mainMs = 0;
  const delay = monitorEventLoopDelay({ resolution: 1 });
  for (let turn = 0; turn < TURNS; turn++) {
    const before = performance.eventLoopUtilization();
    const began = performance.now();
    delay.enable();
    const masks = await Promise.all(streams.map((stream) => stream.masks([])));
    delay.disable();
    turnMs.push(performance.now() - began);
    mainMs += performance.eventLoopUtilization(before).active;
    for (const [index, [mask]] of masks.entries()) {
      const id = drawn(mask, vocabulary, rng);
      if (!vocabulary.endIds.includes(id)) streams[index]!.accept(id);
      else {
        streams[index]!.close();
        streams[index] = open(index);
      }
    }
  }
  for (const stream of streams) stream.close();
  await grammars.close();
  const mainUs = (1_000 * mainMs) / (TURNS * STREAMS);
  return {
    streams: STREAMS,
    turnP50Ms: quantile(turnMs, 0.5),
    turnP99Ms: quantile(turnMs, 0.99),
    mainUs,
    loopP99Ms: delay.percentile(99) / 1e6,
  };
}

function measureHostile(host: GrammarHost) {
  const times = HOSTILE_SCHEMAS.slice(0, -1).map(([name, schema]) => {
    const began = performance.now();
    // What is nested deeper than JSON can be written never gets this far.
    if (name !== 'deep nesting')
      host.obey([{ kind: 'compile', reply: 0, grammar: -1, source: { kind: 'json-schema', schema } }]);
    return { name, ms: performance.now() - began };
  });
  return times.sort((a, b) => b.ms - a.ms).slice(0, 5);
}

type Result = {
  treeMs: number;
  masks: ({ name: string } & ReturnType<typeof measureMasks>)[];
  streams: Awaited<ReturnType<typeof measureStreams>>;
  hostile: { name: string; ms: number }[];
};

function report({ treeMs, masks, streams, hostile }: Result): string {
  const rows = masks.map(({ name, compileMs, masks: count, meanMs, p50Ms, p99Ms }) => [
    name,
    compileMs.toFixed(1),
    String(count),
    ...[meanMs, p50Ms, p99Ms].map((ms) => ms.toFixed(2)),
  ]);
  return [
    `vocabulary of ${VOCABULARY}; its tree takes ${treeMs.toFixed(0)} ms, once`,
    formatTable([['answer', 'compile ms', 'masks', 'mean ms', 'p50 ms', 'p99 ms'], ...rows]),
    `${streams.streams} answers at once: a turn ${streams.turnP50Ms.toFixed(1)} ms (p99 ${streams.turnP99Ms.toFixed(1)}), ` +
      `main thread ${streams.mainUs.toFixed(0)} µs a mask, event loop p99 ${streams.loopP99Ms.toFixed(1)} ms`,
    `hostile schemas, the slowest: ${hostile.map(({ name, ms }) => `${name} ${ms.toFixed(0)} ms`).join(', ')}`,
  ].join('\n\n');
}
