import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { answer } from '../integration/answers.ts';
import { Rig } from './rig.ts';

const HELP = `node --import tsx test/bench/seq2seq.ts --model DIR [options]

Serves an encoder–decoder to two tabs in processes of their own, and prints tokens a second and laps of answers: of one stream, and
of several together. Checkpoints with random weights come from tools/random-checkpoint.ts.

  --model DIR       the checkpoint
  --round-trip N    milliseconds between coordinator and tabs (20)
  --streams N       answers together (16)
  --source N        tokens of a source (64)
  --tokens N        tokens of an answer (32)
  --tab-memory MIB  what each tab lends (1200)
`;

const options = {
  model: { type: 'string' },
  'round-trip': { type: 'string', default: '20' },
  streams: { type: 'string', default: '16' },
  source: { type: 'string', default: '64' },
  tokens: { type: 'string', default: '32' },
  'tab-memory': { type: 'string', default: '1200' },
  help: { type: 'boolean', default: false },
} as const;

interface Sizes {
  streams: number;
  source: number;
  tokens: number;
}

async function measure({ coordinator }: Rig, { streams, source, tokens }: Sizes): Promise<string> {
  const { scheduler, dispatcher, config } = coordinator;
  const before = { passes: scheduler.passes, laps: dispatcher.figures.laps };
  const prefix = config.seq2seq!.targetPrefix;
  const startedMs = performance.now();
  const answers = Array.from({ length: streams }, (_, s) => {
    const ids = Array.from({ length: source }, (__, i) => 5 + ((i * 377 + s * 101) % (config.vocabSize - 5)));
    return answer(coordinator, [...ids, ...prefix], { sourceLength: source, maxTokens: tokens, ignoreEos: true });
  });
  await Promise.all(answers);
  const seconds = (performance.now() - startedMs) / 1000;
  const [laps, passes] = [dispatcher.figures.laps - before.laps, scheduler.passes - before.passes];
  const rate = ((streams * tokens) / seconds).toFixed(1);
  return `${streams} streams: ${rate} tokens/s; ${passes} passes and ${laps} laps for ${streams} answers of ${tokens} tokens`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options });
  if (values.help || !values.model) {
    process.stdout.write(HELP);
    return;
  }
  const cacheDir = await mkdtemp(join(tmpdir(), 'shoal-seq2seq-'));
  const pledgeBytes = Number(values['tab-memory']) * 2 ** 20;
  const coordinator = { model: values.model, cacheDir, replicas: 1, quant: 'q8', denseQuant: 'q8' } as const;
  const rig = await Rig.start({ tabs: 2, pledgeBytes, coordinator });
  try {
    rig.setLine({ roundTripMs: Number(values['round-trip']), loss: 0 });
    const sizes = { source: Number(values.source), tokens: Number(values.tokens) };
    for (const streams of [1, Number(values.streams)]) {
      // The first answers are about new tabs.
      await measure(rig, { ...sizes, streams, tokens: 8 });
      process.stdout.write(`${await measure(rig, { ...sizes, streams })}\n`);
    }
  } finally {
    await rig.close();
    await rm(cacheDir, { recursive: true });
  }
}

await main();
