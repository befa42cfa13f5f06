import { openWasmEngine } from '@shoal/kernels/node';
import { createReferenceEngine, type ForwardEngine, loadDenseWeights, loadHeadWeights } from '@shoal/model';
import { openCheckpoint } from '@shoal/model/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nmse } from '../../packages/kernels/src/testing/numbers.ts';
import { type Family, fixtureDir, openFamily } from './families.ts';
import { auxiliaryOf, draftLogits, type HeadFixture, openHeadFixture, runDFlash, runEagle3 } from './heads.ts';

const TARGET = 'qwen3-moe';
const REFERENCE_ERROR = 1e-8;
/** With a cache of 16 bits. */
const WASM_ERROR = 1e-5;

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

async function wasmWith(
  { open: { config, vocabulary, reader } }: HeadFixture,
  threads: number,
): Promise<ForwardEngine> {
  const checkpoint = await openCheckpoint(fixtureDir(TARGET));
  const head = { config, vocabulary, reader, format: 'f32' as const };
  const engine = await openWasmEngine({
    config: family.config,
    weights: { reader: checkpoint, format: 'f32' },
    threads,
    kvBytes: 2 ** 20,
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
      const wasm = await wasmWith(fixture, 0);
      expect(nmse(await auxiliaryOf(wasm, family, fixture.ids), fixture.auxiliary)).toBeLessThan(WASM_ERROR);
      const own = await runEagle3(wasm.head!, fixture, 3);
      expect(nmse(own.hidden, fixture.hidden)).toBeLessThan(WASM_ERROR);
      expect(nmse(own.logits, fixture.logits)).toBeLessThan(WASM_ERROR);
    },
  );

  it.each(['dflash', 'dflash-package'])('%s drafts a block as the speculators package does', async (name) => {
    const fixture = await fixtureOf(name);
    const engine = await referenceWith(fixture);
    expect(nmse(await auxiliaryOf(engine, family, fixture.ids), fixture.auxiliary)).toBeLessThan(REFERENCE_ERROR);
    const expected = draftLogits(fixture);
    expect(nmse(await runDFlash(engine.head!, fixture), expected)).toBeLessThan(REFERENCE_ERROR);
    const wasm = await wasmWith(fixture, 0);
    expect(nmse(await runDFlash(wasm.head!, fixture), expected)).toBeLessThan(WASM_ERROR);
  });
});
