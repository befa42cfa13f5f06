import { openWasmEngine, type WasmEngine } from '@shoal/kernels/node';
import { createReferenceEngine, type ForwardEngine, loadDenseWeights, loadHeadWeights } from '@shoal/model';
import { openCheckpoint } from '@shoal/model/node';
import { HEAD_SEGMENT } from '@shoal/weights';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nmse } from '../../packages/kernels/src/testing/numbers.ts';
import { type Family, fixtureDir, openFamily } from './families.ts';
import { auxiliaryOf, draftLogits, type HeadFixture, openHeadFixture, runDFlash, runEagle3 } from './heads.ts';

const TARGET = 'qwen3-moe';
const REFERENCE_ERROR = 1e-8;
/** With a cache of 16 bits. */
const WASM_ERROR = 1e-5;
/** Too little for the KV cache of all layers, which then are not all beside one another. */
const BANK_BYTES = 9_000_000;

let family: Family;
const open: { close(): Promise<void> }[] = [];
beforeAll(async () => {
  family = await openFamily(TARGET);
});
afterAll(async () => {
  for (const each of open) await each.close();
});

async function fixtureOf(name: string): Promise<HeadFixture> {
  const fixture = await openHeadFixture(name, family);
  open.push(fixture.open);
  return fixture;
}

async function referenceWith({ open: { config, vocabulary, reader } }: HeadFixture): Promise<ForwardEngine> {
  const checkpoint = await openCheckpoint(fixtureDir(TARGET));
  open.push(checkpoint);
  const weights = await loadDenseWeights(family.config, checkpoint);
  const head = { config, vocabulary, weights: await loadHeadWeights(config, reader) };
  return createReferenceEngine({ config: family.config, weights }, head);
}

/** On the calling thread. */
async function wasmWith(
  { open: { config, vocabulary, reader } }: HeadFixture,
  bankBytes?: number,
): Promise<WasmEngine> {
  const checkpoint = await openCheckpoint(fixtureDir(TARGET));
  const head = { config, vocabulary, reader, format: 'f32' as const };
  const engine = await openWasmEngine({
    config: family.config,
    weights: { reader: checkpoint, format: 'f32' },
    threads: 0,
    kvBytes: 12_000_000,
    bankBytes,
    head,
  });
  open.push(checkpoint, engine);
  return engine;
}

describe('heads that read the hidden states of another model', () => {
  it.each(['eagle3', 'eagle3-residual', 'eagle3-whole-norm'])(
    '%s drafts as the speculators package does',
    async (name) => {
      const fixture = await fixtureOf(name);
      const engine = await referenceWith(fixture);
      expect(nmse(await auxiliaryOf(engine, family, fixture.ids), fixture.auxiliary)).toBeLessThan(REFERENCE_ERROR);
      const { logits, hidden } = await runEagle3(engine.head!, fixture, 3);
      expect(nmse(hidden, fixture.hidden)).toBeLessThan(REFERENCE_ERROR);
      expect(nmse(logits, fixture.logits)).toBeLessThan(REFERENCE_ERROR);
      const wasm = await wasmWith(fixture);
      expect(nmse(await auxiliaryOf(wasm, family, fixture.ids), fixture.auxiliary)).toBeLessThan(WASM_ERROR);
      const own = await runEagle3(wasm.head!, fixture, 3);
      expect(nmse(own.hidden, fixture.hidden)).toBeLessThan(WASM_ERROR);
      expect(nmse(own.logits, fixture.logits)).toBeLessThan(WASM_ERROR);
      if (name !== 'eagle3') return;
      const apart = await wasmWith(fixture, BANK_BYTES);
      expect(apart.memory.bankOf(HEAD_SEGMENT)).not.toBe(apart.memory.bankOf('embed'));
      expect(await runEagle3(apart.head!, fixture, 3)).toEqual(own);
    },
  );

  it.each(['dflash', 'dflash-package'])('%s drafts a block as the speculators package does', async (name) => {
    const fixture = await fixtureOf(name);
    const engine = await referenceWith(fixture);
    expect(nmse(await auxiliaryOf(engine, family, fixture.ids), fixture.auxiliary)).toBeLessThan(REFERENCE_ERROR);
    const expected = draftLogits(fixture);
    expect(nmse(await runDFlash(engine.head!, fixture), expected)).toBeLessThan(REFERENCE_ERROR);
    const wasm = await wasmWith(fixture);
    const own = await runDFlash(wasm.head!, fixture);
    expect(nmse(own, expected)).toBeLessThan(WASM_ERROR);
    if (name !== 'dflash') return;
    const apart = await wasmWith(fixture, BANK_BYTES);
    expect(apart.memory.bankOf(HEAD_SEGMENT)).not.toBe(apart.memory.bankOf('embed'));
    expect(await runDFlash(apart.head!, fixture)).toEqual(own);
  });
});
