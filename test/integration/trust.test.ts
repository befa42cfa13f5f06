import { type ExpertBackend, type ExpertOutput } from '@shoal/kernels';
import type { WorkItem } from '@shoal/model';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Access } from '../../coordinator/src/access/access.ts';
import { registerMetrics } from '../../coordinator/src/console/metrics.ts';
import { SnapshotBuilder } from '../../coordinator/src/console/snapshot.ts';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { JoinRefused } from '../../coordinator/src/access/join-refused.ts';
import { PROBATION_ROWS } from '../../coordinator/src/trust/audit-share.ts';
import { answer } from './answers.ts';
import { GOLDEN } from './golden.ts';
import { countAsSlow, covered, until, VirtualDonor } from './virtual-donor.ts';
import { tinyConfig } from './tiny-coordinator.ts';

/** 5 layers of 32 experts, each tested with one row. */
const KNOWN_ANSWER_ROWS = 160;

let core: Core;
let donors: VirtualDonor[];

beforeEach(async () => {
  core = await createCore(tinyConfig({ replicas: 2 }));
  donors = [];
});
afterEach(async () => {
  await core.close();
  await Promise.all(donors.map((donor) => donor.close()));
});

async function join(options?: Parameters<typeof VirtualDonor.join>[1]): Promise<VirtualDonor> {
  const donor = await VirtualDonor.join(core, options);
  donors.push(donor);
  return donor;
}

type Lie = (output: ExpertOutput, lap: WorkItem) => ExpertOutput;
const scaled: Lie = (output) => ({ ...output, partial: output.partial.map((value) => value * 1.01) });

/** A tab that is honest until `lies` says otherwise. */
function twoFaced(lies: (lap: WorkItem) => boolean, lie: Lie = scaled) {
  return {
    wrapBackend: (backend: ExpertBackend): ExpertBackend =>
      new Proxy(backend, {
        get(target, key) {
          if (key === 'run') {
            return async (lap: WorkItem) => {
              const output = await target.run(lap);
              return lies(lap) ? lie(output, lap) : output;
            };
          }
          const value: unknown = Reflect.get(target, key, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      }),
  };
}

/** Lies after `rows` rows. */
function after(rows: number): (lap: WorkItem) => boolean {
  let seen = 0;
  return (lap) => {
    seen += lap.numRows;
    return seen > rows;
  };
}

const errors = (): string[] =>
  core.events
    .all()
    .filter(({ level }) => level === 'error')
    .map(({ text }) => text);

describe('probation: a new tab', () => {
  it('serves its first rows in shadow, and only then in earnest', async () => {
    const donor = await join();
    await until('the tab to serve', () => covered(core));
    const { trust, laps } = donor.session;
    expect(trust).toMatchObject({ phase: 'trusted', auditedRows: PROBATION_ROWS, failures: 0, usedRows: 0 });
    // Probation rows do not count as work.
    expect(laps.rows).toBe(0);
    expect(core.dispatcher.figures.tabAssignments).toBe(0);
    const { ids } = await answer(core, GOLDEN[6]!.prompt_ids);
    expect(ids).toEqual(GOLDEN[6]!.greedy_ids);
    expect(core.dispatcher.figures.fallbackAssignments).toBe(0);
    expect(trust.usedRows).toBe(laps.rows);
    await until('an audit', () => trust.auditedRows > PROBATION_ROWS);
    expect(trust.failures).toBe(0);
  });

  it('that lies after its self-test is found out in shadow: nothing of it enters an answer, under traffic', async () => {
    const honest = await join();
    await until('the honest tab to serve', () => covered(core));
    const answering = new AbortController();
    const traffic = (async () => {
      while (!answering.signal.aborted) {
        const { ids } = await answer(core, GOLDEN[6]!.prompt_ids, { maxTokens: 12 });
        expect(ids).toEqual(GOLDEN[6]!.greedy_ids.slice(0, 12));
      }
    })();
    const liar = await join(twoFaced(after(KNOWN_ANSWER_ROWS + 5)));
    await until('the liar to be sent away', () => liar.dismissed !== undefined);
    answering.abort();
    await traffic;
    expect(liar.dismissed).toMatchObject({ code: 'wrong-results', retry: false });
    expect(liar.session).toMatchObject({ tokensHelped: 0, trust: { phase: 'quarantined', usedRows: 0 } });
    expect(liar.session.live.size).toBe(0);
    expect(honest.session.trust.failures).toBe(0);
    expect(errors().join()).toMatch(/gave wrong results on probation, before any was used/);
  });
});

describe('audits and quarantine: a liar, a tab that turns after probation,', () => {
  it('is caught by audits, counted, shown and kept out', async () => {
    let lying = false;
    const liar = await join(twoFaced(() => lying));
    await until('it to serve', () => covered(core));
    await answer(core, GOLDEN[6]!.prompt_ids);
    lying = true;
    while (liar.dismissed === undefined && liar.session.trust.usedRows < 500) {
      await answer(core, GOLDEN[6]!.prompt_ids, { maxTokens: 4 });
    }
    await until('its dismissal', () => liar.dismissed !== undefined);
    expect(liar.dismissed).toMatchObject({ code: 'wrong-results', retry: false });
    const { trust, peerId } = liar.session;
    expect(trust).toMatchObject({ phase: 'quarantined', failures: 1, auditShare: 1 });
    expect(errors().find((text) => text.includes(peerId))).toMatch(
      /gave wrong results; (\d+|none) of its rows since its last good audit (was|were) not checked/,
    );
    await expectRefused(liar.donorToken);

    const metrics = new Registry();
    registerMetrics(metrics, { ...core, access: new Access({}) });
    const text = await metrics.metrics();
    expect(text).toMatch(/^shoal_audits_total\{result="wrong"\} 1$/m);
    expect(text).toMatch(/^shoal_quarantined_peers_total 1$/m);
    // Without it, answers are right.
    const { ids } = await answer(core, GOLDEN[3]!.prompt_ids);
    expect(ids).toEqual(GOLDEN[3]!.greedy_ids);
  });

  it('takes its donor’s other tabs with it: what they did is counted as in doubt too', async () => {
    let lying = false;
    const liar = await join({ ...twoFaced(() => lying), pledgeBytes: 16 * 2 ** 20 });
    const sibling = await join({ donorToken: liar.donorToken, tab: 1, pledgeBytes: 16 * 2 ** 20 });
    const stranger = await join();
    await until('all to serve', () => covered(core));
    expect([liar, sibling].map(({ dismissed }) => dismissed)).toEqual([undefined, undefined]);
    lying = true;
    countAsSlow(stranger);
    while (liar.dismissed === undefined) await answer(core, GOLDEN[6]!.prompt_ids, { maxTokens: 4 });
    expect(sibling.dismissed).toMatchObject({ code: 'wrong-results', retry: false });
    expect(sibling.session).toMatchObject({ believed: false, trust: { failures: 0, phase: 'quarantined' } });
    expect(stranger.dismissed).toBeUndefined();
    expect(errors().join()).toContain(`${sibling.session.peerId} belongs to the same donor and is quarantined with it`);
    const { trust } = sibling.session;
    expect(core.trust.counts.unchecked).toBe(trust.uncheckedRows + liar.session.trust.uncheckedRows);
    await expectRefused(liar.donorToken);
  });

  it('with absurd numbers is refused before they enter an answer', async () => {
    let lying = false;
    const absurd: Lie = (output) => ({ ...output, partial: output.partial.map((_, i) => (i % 2 ? 65_504 : -65_504)) });
    const liar = await join(twoFaced(() => lying, absurd));
    const honest = await join();
    await until('both to serve', () => covered(core));
    countAsSlow(honest);
    const golden = GOLDEN[3]!;
    // Until the liar gets a lap; the answer then ends without it.
    while (liar.session.state !== 'gone') {
      const { ids } = await answer(core, golden.prompt_ids, { onToken: (_, index) => void (lying ||= index === 5) });
      expect(ids).toEqual(golden.greedy_ids);
    }
    expect(liar.dismissed).toMatchObject({ code: 'wrong-results' });
    expect(errors().join()).toMatch(/gave a result of absurd size/);
    expect(core.dispatcher.figures.fallbackAssignments).toBe(0);
  });

  it('is kept out even if it leaves before its audit', async () => {
    let lying = false;
    const liar = await join(twoFaced(() => lying));
    await until('it to serve', () => covered(core));
    lying = true;
    await answer(core, GOLDEN[6]!.prompt_ids, { maxTokens: 1 });
    liar.kill();
    await until('it to be found out', () => liar.session.trust.phase === 'quarantined');
    await expectRefused(liar.donorToken);
  });
});

describe('trust: an honest tab', () => {
  it('is not blamed for silence, loss or departure', async () => {
    const tabs = await Promise.all([join(), join(), join()]);
    await until('all to serve', () => covered(core));
    for (const { wire } of tabs)
      Object.assign(wire.aToB, { loss: 0.03, duplication: 0.1, reordering: 0.2, jitterMs: 2 });
    await answer(core, GOLDEN[3]!.prompt_ids, {
      maxTokens: 16,
      onToken: (_, index) => {
        if (index === 5) tabs[0]!.kill('black-hole');
        if (index === 9) tabs[1]!.kill();
      },
    });
    await until('the audits to be done', () => core.trust.counts.pending === 0);
    expect(core.trust.quarantine.total).toBe(0);
    expect(core.trust.counts).toMatchObject({ wrong: 0, retracted: 0 });
    const back = await join({ donorToken: tabs[1]!.donorToken, cache: tabs[1]!.cache });
    await until('it to serve again', () => back.session.trust.phase === 'trusted');
    // Credit belongs to the donor and outlives the visit.
    expect(back.session.trust.record).toBe(tabs[1]!.session.trust.record);
    expect(back.session.trust.record.verifiedRows).toBeGreaterThan(2 * PROBATION_ROWS);
  });

  it("shows in the console's figures how far it is trusted", async () => {
    await join();
    const snapshots = new SnapshotBuilder({
      ...core,
      version: '0',
      quant: 'f16',
      isDraining: () => false,
      attention: () => [],
    });
    expect(snapshots.build().peers[0]!.trust).toEqual({
      phase: 'probation',
      auditShare: 1,
      auditedRows: 0,
      failures: 0,
      verifiedRows: 0,
    });
    await until('it to serve', () => covered(core));
    const { peers, flow } = snapshots.build();
    expect(peers[0]!.trust).toMatchObject({
      phase: 'trusted',
      auditedRows: PROBATION_ROWS,
      verifiedRows: PROBATION_ROWS,
    });
    expect(flow.audits).toEqual({ comparedRows: PROBATION_ROWS, wrongRows: 0, uncheckedRows: 0, keptOut: 0 });
  });
});

async function expectRefused(donorToken: string): Promise<void> {
  const refusal = await VirtualDonor.join(core, { donorToken }).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(JoinRefused);
  expect(refusal).toMatchObject({
    code: 'banned',
    message: expect.stringMatching(/after \d{4}-\d\d-\d\d \d\d:\d\d UTC/),
  });
}
