import { afterEach, expect, it } from 'vitest';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { answer } from './answers.ts';
import { GOLDEN, promisedLength } from './golden.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';
import { tinyConfig } from './tiny-coordinator.ts';

let core: Core | undefined;
let donors: VirtualDonor[] = [];

afterEach(async () => {
  await core?.close();
  await Promise.all(donors.map((donor) => donor.close()));
  donors = [];
});

async function start(rowFormat: 'f16' | 'int8', ...tabs: { rowFormats?: string[]; scaleBy?: number }[]): Promise<Core> {
  core = await createCore(tinyConfig({ quant: 'q8', replicas: 2, rowFormat }));
  for (const { rowFormats, scaleBy } of tabs) {
    const donor = await VirtualDonor.join(core, {
      ...(rowFormats && { rowFormats }),
      ...(scaleBy !== undefined && {
        wrapBackend: (backend) => {
          const run = backend.run.bind(backend);
          backend.run = async (lap) => {
            const { partial, computeUs } = await run(lap);
            return { partial: partial.map((value) => value * scaleBy), computeUs };
          };
          return backend;
        },
      }),
    });
    donors.push(donor);
  }
  return core;
}

/** Bytes of lap frames for a row and layer, and the ids. */
async function ask(from: Core): Promise<{ bytes: number; ids: number[][] }> {
  const ids: number[][] = [];
  for (const { prompt_ids: prompt } of GOLDEN.slice(0, 2))
    ids.push((await answer(from, prompt, { maxTokens: 16 })).ids);
  return { bytes: from.dispatcher.figures.frameBytes / from.dispatcher.figures.tabRows, ids };
}

it('row format: int8 halves the bytes, passes every audit, and says what the coordinator alone says', async () => {
  const served = await start('int8', { rowFormats: ['int8', 'one of the future'] }, { rowFormats: ['f16', 'int8'] });
  await until('all experts to be served', () => covered(served));
  const { bytes, ids } = await ask(served);
  const { hiddenSize } = served.config;
  // Two rows with a byte per value and a scale per 32 values, plus headers, weights and experts.
  expect(bytes).toBeLessThan(2 * hiddenSize * (33 / 32) + 100);
  expect(served.dispatcher.figures.fallbackAssignments).toBe(0);
  expect(served.trust.counts).toMatchObject({ wrong: 0, retracted: 0 });
  expect(served.trust.counts.right).toBeGreaterThanOrEqual(128);
  for (const donor of donors) donor.kill();
  await until('the tabs to be gone', () => served.swarm.peers.length === 0);
  const alone = await ask(served);
  for (const [i, golden] of GOLDEN.slice(0, 2).entries()) {
    const promised = promisedLength(golden);
    expect(ids[i]!.slice(0, promised)).toEqual(alone.ids[i]!.slice(0, promised));
  }
});

it('row format: a tab that does not know int8 is sent f16, beside others that do', async () => {
  const served = await start('int8', {}, { rowFormats: ['int8'] });
  await until('both tabs to serve', () => covered(served) && served.swarm.peers.every((peer) => peer.serving));
  expect(served.swarm.peers.map((peer) => peer.rowFormat).sort()).toEqual(['f16', 'int8']);
  await ask(served);
  expect(served.trust.counts).toMatchObject({ wrong: 0, retracted: 0 });
  expect(served.dispatcher.figures.redispatches).toBe(0);
  expect(served.swarm.peers).toHaveLength(2);
});

it('known-answer test, int8 rows: a liar that scales its results by 1.01 does not get in, though rounding moves a row by half as much', async () => {
  const served = await start('int8', { rowFormats: ['int8'], scaleBy: 1.01 });
  await until('it to be sent away', () => donors[0]!.dismissed !== undefined);
  expect(donors[0]!.dismissed!.code).toBe('self-test');
  expect(served.swarm.peers).toHaveLength(0);
});
