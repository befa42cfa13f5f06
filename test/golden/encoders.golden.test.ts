import { basename } from 'node:path';
import { openWasmEngine } from '@shoal/kernels/node';
import { type ForwardEngine, meanEmbedding } from '@shoal/model';
import { loadTokenizer } from '@shoal/model/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Encoder, ENCODER_DIR, openEncoder, sequenceGateEncoders } from './encoders.ts';
import { nmse } from './tiny-stories.ts';

const firstDifference = (a: Float32Array, b: Float32Array) => a.findIndex((value, i) => !Object.is(value, b[i]));

/** Hidden states of all sequences, which are computed in these passes. */
async function hiddenOf(
  { sequences, experts, config }: Encoder,
  engine: ForwardEngine,
  passes: readonly (readonly number[])[],
): Promise<Float32Array> {
  const bySequence: Float32Array[] = [];
  for (const pass of passes) {
    const taken = pass.map((i) => sequences[i]!);
    const { hidden } = await engine.encode!(taken, experts);
    let at = 0;
    for (const i of pass) bySequence[i] = hidden.subarray(at, (at += sequences[i]!.length * config.hiddenSize));
  }
  return Float32Array.from(bySequence.flatMap((rows) => [...rows]));
}

/** Checks each position separately, so that the others hide none. */
function expectClose({ config, hidden: expected }: Encoder, hidden: Float32Array, limit: number): void {
  const { hiddenSize } = config;
  expect(hidden).toHaveLength(expected.length);
  for (let at = 0; at < hidden.length; at += hiddenSize) {
    const row = (values: Float32Array) => values.subarray(at, at + hiddenSize);
    expect(nmse(row(hidden), row(expected)), `row ${at / hiddenSize}`).toBeLessThanOrEqual(limit);
  }
}

const together = ({ sequences }: Encoder) => [sequences.map((_, i) => i)];
const alone = ({ sequences }: Encoder) => sequences.map((_, i) => [i]);

it('its tokenizer gives the ids that Python’s tokenizers gives', async () => {
  const { checkpoint, texts, sequences } = await openEncoder();
  await checkpoint.close();
  const tokenizer = await loadTokenizer(ENCODER_DIR);
  for (const [i, text] of texts.entries()) {
    expect(tokenizer.encodeWhole(text), JSON.stringify(text)).toEqual(sequences[i]);
  }
});

describe.each([ENCODER_DIR, ...sequenceGateEncoders].map((dir) => [basename(dir), dir]))('%s', (_, dir) => {
  let encoder: Encoder;
  const engines: ForwardEngine[] = [];
  beforeAll(async () => {
    encoder = await openEncoder(dir);
    const { config, checkpoint: reader } = encoder;
    const weights = { reader, format: 'f16' as const };
    engines.push(await openWasmEngine({ config, weights, threads: 1 }));
    engines.push(await openWasmEngine({ config, weights, threads: 2 }));
  });
  afterAll(async () => {
    await Promise.all(engines.map((engine) => engine.close()));
    await encoder.checkpoint.close();
  });

  it('has the hidden states of an independent implementation at every position (NMSE ≤ 1e-8)', async () => {
    const hidden = await hiddenOf(encoder, encoder.engine, together(encoder));
    expectClose(encoder, hidden, 1e-8);
    expect(firstDifference(hidden, await hiddenOf(encoder, encoder.engine, alone(encoder)))).toBe(-1);
  });

  it('pools, cuts and normalises as that does', async () => {
    const { config, sequences, dimensions, embeddings, short } = encoder;
    const hidden = await hiddenOf(encoder, encoder.engine, together(encoder));
    let firstRow = 0;
    for (const [i, { length: numRows }] of sequences.entries()) {
      const check = (size: number, all: Float32Array): void => {
        const embedding = meanEmbedding(hidden, config.hiddenSize, { firstRow, numRows }, size);
        expect(nmse(embedding, all.subarray(i * size, (i + 1) * size))).toBeLessThanOrEqual(1e-8);
      };
      check(config.hiddenSize, embeddings);
      check(dimensions, short);
      firstRow += numRows;
    }
  });

  it('has the same in the wasm engine (NMSE ≤ 1e-5), whatever shares a pass and however many threads', async () => {
    const hidden = await hiddenOf(encoder, engines[0]!, together(encoder));
    expectClose(encoder, hidden, 1e-5);
    expect(firstDifference(hidden, await hiddenOf(encoder, engines[1]!, alone(encoder)))).toBe(-1);
  });
});
