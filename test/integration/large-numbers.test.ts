import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createWasmBackend } from '@shoal/kernels/node';
import { ROW_FORMATS, type RowFormat } from '@shoal/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Core, createCore, defaultConfig } from '../../coordinator/src/index.ts';
import { type FamilyReference, fixtureDir } from '../golden/families.ts';
import { answer } from './answers.ts';
import { enlarge, reference } from './large-numbers.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';

let cacheDir: string;
beforeAll(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'shoal-large-'));
});
afterAll(() => rm(cacheDir, { recursive: true }));

/** Runs a model over two tabs, one of each backend that runs in Node. */
async function served(modelDir: string, rowFormat: RowFormat, run: (core: Core) => Promise<void>): Promise<void> {
  const core = await createCore(defaultConfig({ model: modelDir, quant: 'f16', cacheDir, replicas: 1, rowFormat }));
  const wasm = await createWasmBackend({ shape: core.packed.manifest.shape, threads: 1 });
  const rowFormats = [...ROW_FORMATS];
  const tabs = [
    VirtualDonor.join(core, { rowFormats }),
    VirtualDonor.join(core, { rowFormats, wrapBackend: () => wasm }),
  ];
  const donors = await Promise.all(tabs);
  try {
    await until('all experts to be served', () => covered(core));
    await run(core);
    expect(core.swarm.peers).toHaveLength(2);
    expect(core.trust.counts).toMatchObject({ wrong: 0, incomparable: 0 });
    expect(core.trust.counts.right).toBeGreaterThan(0);
    expect(core.dispatcher.figures).toMatchObject({ redispatches: 0, fallbackAssignments: 0 });
  } finally {
    await core.close();
    await Promise.all(donors.map((donor) => donor.close()));
  }
}

describe.each(['qwen3-moe', 'deepseek-v3'])('%s with numbers as large as those of real models', (fixture) => {
  const dir = (): string => join(cacheDir, `${fixture}-large`);
  let expected: Awaited<ReturnType<typeof reference>>;
  let sequences: number[][];

  beforeAll(async () => {
    await enlarge(fixture, dir());
    const json = await readFile(join(fixtureDir(fixture), 'reference.json'), 'utf8');
    sequences = (JSON.parse(json) as FamilyReference).sequences.slice(0, 2);
    expected = await reference(dir(), sequences);
    expect(expected.largest.sum).toBeGreaterThan(2e5);
    expect(expected.largest.cached).toBeGreaterThan(1e5);
  });

  it.each(ROW_FORMATS)(
    'says over two tabs, with %s rows, what float32 says wherever that is clear',
    async (rowFormat) => {
      await served(dir(), rowFormat, async (core) => {
        let compared = 0;
        for (const [s, promptIds] of sequences.entries()) {
          const { events } = await answer(core, promptIds, {
            maxTokens: 1,
            promptLogprobs: true,
            promptTopLogprobs: 1,
          });
          const listed = events.flatMap((event) => (event.type === 'prompt-logprobs' ? event.tokens : []));
          // A token's alternatives are what followed the one before it.
          for (const [position, { topLogprobs }] of listed.entries()) {
            const best = expected.best[s]![position - 1];
            if (!best || best.lead < 0.02 || !topLogprobs) continue;
            compared++;
            expect({ s, position, tokenId: topLogprobs[0]?.tokenId }).toEqual({ s, position, tokenId: best.tokenId });
          }
        }
        expect(compared).toBeGreaterThan(150);
      });
    },
  );
});
