import type { ModelConfig } from '@shoal/model';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Latency } from '../scheduler/latency.ts';
import { Sequence } from '../scheduler/sequence.ts';
import { EventLog } from '../base/event-log.ts';
import type { LocalLayerChoice } from '../local-experts/choose-layers.ts';
import { Swarm } from '../swarm/swarm.ts';
import { HIDDEN, localWork, SHARD_BYTES } from '../swarm/testing/fake-tab.ts';
import { Quarantine } from '../trust/quarantine.ts';
import { SnapshotBuilder, type SnapshotSources } from './snapshot.ts';

const NOTHING = {
  tokens: 0,
  tabAssignments: 0,
  fallbackAssignments: 0,
  localLayerAssignments: 0,
  draftAssignments: 0,
  tabRows: 0,
};
const counters = { ...NOTHING };
const expertRows = new Map([[1, new Float64Array(4)]]);
const latency = new Latency();
const noTimings = { quantile: () => null };

const localLayers: LocalLayerChoice = { layers: [], mtp: undefined, bytes: 0 };
const adapters = { all: [], loads: [], bytes: 0, memoryBytes: 0 } as unknown as SnapshotSources['adapters'];
let swarm: Swarm;
let snapshots: SnapshotBuilder;

beforeEach(() => {
  Object.assign(counters, NOTHING);
  expertRows.get(1)!.fill(0);
  vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval', 'setTimeout', 'clearTimeout'] });
  swarm = new Swarm({
    model: { layers: [1], expertsPerLayer: 4, groupsPerLayer: 1, shardBytes: SHARD_BYTES, hiddenSize: HIDDEN },
    shardHash: () => '0'.repeat(64),
    local: localWork(),
    events: new EventLog(),
    replicas: 1,
  });
  const figures = {
    laps: 0,
    redispatches: 0,
    expertRows,
    lapMs: noTimings,
    queueMs: noTimings,
    wireMs: noTimings,
    computeMs: noTimings,
    localLayerMs: noTimings,
    get tabAssignments() {
      return counters.tabAssignments;
    },
    get fallbackAssignments() {
      return counters.fallbackAssignments;
    },
    get localLayerAssignments() {
      return counters.localLayerAssignments;
    },
    get draftAssignments() {
      return counters.draftAssignments;
    },
    get tabRows() {
      return counters.tabRows;
    },
  };
  const scheduler = {
    modelId: 'm',
    now: () => 0,
    running: [],
    queued: [],
    passes: 0,
    passesPerToken: null,
    speculation: { totals: { drafted: 0, accepted: 0 } },
    kvBytesInUse: 0,
    kvBytesPerToken: 40,
    engineMs: noTimings,
    latency,
    get tokens() {
      return counters.tokens;
    },
  };
  const config = {
    hiddenSize: HIDDEN,
    numHiddenLayers: 2,
    layerKinds: ['dense', 'moe'],
    attention: {
      kind: 'mla',
      numAttentionHeads: 3,
      kvLoraRank: 8,
      qkNopeHeadDim: 4,
      qkRopeHeadDim: 2,
      vHeadDim: 4,
    },
  };
  snapshots = new SnapshotBuilder({
    version: '0',
    quant: 'f16',
    config: config as unknown as ModelConfig,
    scheduler: scheduler as unknown as SnapshotSources['scheduler'],
    dispatcher: { figures } as unknown as SnapshotSources['dispatcher'],
    swarm,
    localLayers,
    trust: {
      counts: { right: 0, wrong: 0, incomparable: 0, retracted: 0, pending: 0, putOff: 0, unchecked: 0 },
      quarantine: new Quarantine(),
    },
    adapters,
    isDraining: () => false,
    attention: () => [],
  });
});
afterEach(() => {
  swarm.close();
  vi.useRealTimers();
});

describe('SnapshotBuilder: rates', () => {
  it('are per measured second, even if a tick is late', () => {
    for (const elapsedMs of [1000, 4000]) {
      vi.advanceTimersByTime(elapsedMs);
      counters.tokens += 20;
      expertRows.get(1)![2]! += 20;
      snapshots.tick();
    }
    const { flow, placement } = snapshots.build();
    expect(flow.tokensPerSecondHistory).toEqual([20, 5]);
    expect(flow.tokensPerSecond).toBe(12.5);
    expect(flow.tokensTotal).toBe(40);
    expect(placement.load[0]![2]).toBeCloseTo(20 * 0.07 * 0.93 + 5 * 0.07);
  });
});

describe('SnapshotBuilder: shares and bytes', () => {
  it('are null before there is any work', () => {
    expect(snapshots.build().flow).toMatchObject({ tabShare: null, bytesPerToken: null, lapsPerToken: null });
  });

  it('compare bytes with their floor, and the latent cache with plain attention', () => {
    Object.assign(counters, { tabAssignments: 3, fallbackAssignments: 1, tabRows: 10 });
    vi.spyOn(swarm, 'wireBytes', 'get').mockReturnValue({ sent: 800, received: 400, tests: 200 });
    expect(snapshots.build().flow).toMatchObject({
      tabShare: 0.75,
      // One MoE layer: 100 B a row and lap, where 2 × 8 values of 2 B are the least.
      bytesPerToken: 100,
      floorBytesPerToken: 32,
      kvBytesPerToken: 40,
      // 16-bit values, as allocated: two layers of 8 + 2.
      mhaBytesPerToken: 2 * 3 * (4 + 4) * 2,
    });
  });

  it('count local layers and drafts apart from the fallback', () => {
    Object.assign(counters, {
      tabAssignments: 5,
      fallbackAssignments: 1,
      localLayerAssignments: 4,
      draftAssignments: 90,
    });
    expect(snapshots.build().flow).toMatchObject({
      tabShare: 0.5,
      uncoveredWork: 1,
      localLayers: { share: 0.4, draftWork: 90 },
    });
  });
});

describe('SnapshotBuilder: waits', () => {
  it('are medians and 95th percentiles', () => {
    expect(snapshots.build().waits.firstToken).toEqual({ p50: null, p95: null });
    const { signal } = new AbortController();
    const sequence = new Sequence(
      { id: 'a', promptIds: [1], maxTokens: 9, temperature: 0, topP: 1, seed: 1, signal },
      0,
    );
    latency.admitted(sequence, sequence.createdMs + 5);
    latency.tokens(sequence, sequence.createdMs + 40, undefined);
    for (let gap = 1; gap <= 100; gap++) latency.tokens(sequence, 1000 + gap, 1000);
    expect(snapshots.build().waits).toEqual({
      queue: { p50: 5, p95: 5 },
      firstToken: { p50: 40, p95: 40 },
      betweenTokens: { p50: 50, p95: 95 },
    });
  });
});
