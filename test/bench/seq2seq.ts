import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { switchBase } from '../../packages/model/src/testing/published-models/seq2seq-configs.ts';
import { writeRandomCheckpoint } from '../../tools/random-checkpoint/write.ts';
import { answer } from '../integration/answers.ts';
import { Rig } from './rig.ts';
import { formatHeldRows, type HeldRow } from './table.ts';

const ROUND_TRIP_MS = 20;
const SOURCE_TOKENS = 64;
const ANSWER_TOKENS = 32;
/** Of each of the two tabs; the experts in q8 are 0.48 GB. */
const TAB_BYTES = 1200 * 2 ** 20;
/** MoE layers of a token's pass through the decoder, each with a lap. */
const DECODER_LAPS = switchBase(8).num_sparse_decoder_layers;

interface Measured {
  tokensPerS: number;
  lapsPerAnswer: number;
}

/** Answers of one stream and of several together, with random weights of switch-base-8's dimensions, in two tabs with processes of their own. */
export async function benchSeq2Seq({ json, repeats }: { json: boolean; repeats: number }): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'shoal-seq2seq-'));
  const [modelDir, cacheDir] = [join(dir, 'switch-base-8'), join(dir, 'cache')];
  await mkdir(cacheDir);
  const configPath = join(dir, 'config.json');
  await writeFile(configPath, JSON.stringify(switchBase(8)));
  try {
    await writeRandomCheckpoint({ outDir: modelDir, configPath, seed: 1, fileBytes: 5e9, sparse: false });
    const coordinator = { model: modelDir, cacheDir, replicas: 1, quant: 'q8', denseQuant: 'q8' } as const;
    const rig = await Rig.start({ tabs: 2, pledgeBytes: TAB_BYTES, coordinator });
    try {
      rig.setLine({ roundTripMs: ROUND_TRIP_MS, loss: 0 });
      const rows = await measureRows(rig, repeats);
      process.stdout.write(`${json ? JSON.stringify(rows, undefined, 2) : formatHeldRows(rows)}\n`);
    } finally {
      await rig.close();
    }
  } finally {
    await rm(dir, { recursive: true });
  }
}

async function measureRows(rig: Rig, repeats: number): Promise<HeldRow[]> {
  const one = await typical(rig, 1, repeats);
  const floorPerS = 1000 / (DECODER_LAPS * ROUND_TRIP_MS);
  const many = await typical(rig, 16, repeats);
  return [
    {
      figure: 'one stream, tokens/s',
      measured: one.tokensPerS.toFixed(1),
      reference: `${floorPerS.toFixed(1)} if nothing but ${DECODER_LAPS} round trips took time`,
    },
    {
      figure: 'one stream, laps of an answer',
      measured: one.lapsPerAnswer.toFixed(0),
      reference: `${DECODER_LAPS} a token, and one for each MoE layer of the source`,
    },
    {
      figure: '16 streams, tokens/s',
      measured: many.tokensPerS.toFixed(1),
      reference: `${(many.tokensPerS / one.tokensPerS).toFixed(1)} times one stream`,
    },
    {
      figure: '16 streams, laps of an answer',
      measured: many.lapsPerAnswer.toFixed(0),
      reference: `${one.lapsPerAnswer.toFixed(0)} alone`,
    },
  ];
}

/** The run with the median rate, after one that is about new tabs. */
async function typical(rig: Rig, streams: number, repeats: number): Promise<Measured> {
  await measure(rig, streams);
  const runs: Measured[] = [];
  for (let run = 0; run < repeats; run++) runs.push(await measure(rig, streams));
  return runs.sort((a, b) => a.tokensPerS - b.tokensPerS)[Math.floor(runs.length / 2)]!;
}

async function measure({ coordinator }: Rig, streams: number): Promise<Measured> {
  const { dispatcher, config } = coordinator;
  const lapsBefore = dispatcher.figures.laps;
  const prefix = config.seq2seq!.targetPrefix;
  const startedMs = performance.now();
  const answers = Array.from({ length: streams }, (_, s) => {
    const source = Array.from({ length: SOURCE_TOKENS }, (__, i) => 5 + ((i * 377 + s * 101) % (config.vocabSize - 5)));
    const limits = { sourceLength: SOURCE_TOKENS, maxTokens: ANSWER_TOKENS, ignoreEos: true };
    return answer(coordinator, [...source, ...prefix], limits);
  });
  await Promise.all(answers);
  const seconds = (performance.now() - startedMs) / 1000;
  return {
    tokensPerS: (streams * ANSWER_TOKENS) / seconds,
    lapsPerAnswer: (dispatcher.figures.laps - lapsBefore) / streams,
  };
}
