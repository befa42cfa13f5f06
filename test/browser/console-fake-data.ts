import type { ConsoleEvent, ConsoleSnapshot, PeerView, TokenTrace } from '@shoal/protocol';

/** Scripted figures for the pages' tests: made up on purpose, the same each time, and never seen outside them. */
const START_MS = Date.UTC(2026, 0, 5, 9, 30);

/** mulberry32: small, and the same numbers on every machine. */
function makeRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const peerIds = ['p-7Kq2', 'p-mW41', 'p-Zx90', 'p-c3Lf', 'p-Vd58', 'p-tR16'];

function makePeer(index: number, layers: number[], experts: number): PeerView {
  const random = makeRandom(index + 1);
  const states: PeerView['state'][] = ['working', 'working', 'loading', 'waiting', 'working', 'paused'];
  const state = states[index % states.length] ?? 'working';
  const measured = state === 'working';
  const lapMs = 3 + random() * 6;
  return {
    peerId: peerIds[index] ?? `p-${index}`,
    state,
    adapter: index % 2 === 0 ? 'google swiftshader (software)' : 'nvidia ampere',
    donor: `d0000${index}`,
    address: `192.0.2.${10 + index}`,
    pledgeBytes: 2 ** 30,
    allocatedBytes: Math.round(2 ** 29 * random()),
    experts,
    layers,
    rows: measured ? Math.round(random() * 90_000) : 0,
    rowsPerSecond: measured ? 100 + random() * 300 : 0,
    workShare: measured ? 0.2 + random() * 0.2 : 0,
    lapMsP50: measured ? lapMs : null,
    lapMsP95: measured ? lapMs * 2.1 : null,
    rttMs: state === 'loading' ? null : 1 + random() * 30,
    lossShare: index === 4 ? 0.034 : 0,
    bytesSent: 12_400_000 * (index + 1),
    bytesReceived: 11_900_000 * (index + 1),
    loadedShare: state === 'loading' ? 0.62 : 1,
    sinceMs: START_MS + index * 640_000,
    ...(index === 4 ? { note: 'Missed 3 of its last 20 laps: its donor’s connection is slow.' } : {}),
    trust: {
      phase: measured ? 'trusted' : 'probation',
      auditShare: measured ? 0.02 * (index + 1) : 1,
      auditedRows: measured ? 3_200 : 0,
      failures: 0,
      verifiedRows: measured ? 48_000 : 0,
    },
    lapHistoryMs: Array.from({ length: 60 }, (_, i) => (!measured || i % 17 === 5 ? null : lapMs + random() * 4)),
  };
}

/** A swarm of six tabs over `layerCount` × `expertsPerLayer`, of which a group of one layer is uncovered. */
export function makeSnapshot(layerCount = 5, expertsPerLayer = 32): ConsoleSnapshot {
  const random = makeRandom(99);
  const layers = Array.from({ length: layerCount }, (_, i) => i + 1);
  const holders = layers.map((layer) =>
    Array.from({ length: expertsPerLayer }, (_, expert) => {
      if (layer === 2 && expert >= 24 && expert < 28) return [];
      const first = Math.floor((layer * 3) / (layerCount + 1) + (expert >= expertsPerLayer / 2 ? 1 : 0)) % 6;
      const copies = expert % 8 === 0 ? 3 : expert % 3 === 0 ? 2 : 1;
      return Array.from({ length: copies }, (_, copy) => (first + copy * 2) % 6);
    }),
  );
  const held = (peer: number, layer: number): number => (holders[layer] ?? []).filter((h) => h.includes(peer)).length;
  return {
    modelId: 'tiny-stories',
    quant: 'q8',
    version: '0.1.0',
    startedMs: START_MS - 60_000,
    nowMs: START_MS + 5_400_000,
    verdict: {
      state: 'uncovered',
      text: 'Serving; the coordinator computes 4 uncovered experts itself.',
    },
    attention: [
      {
        key: 'database-away',
        severity: 'urgent',
        text: 'The database does not answer for 2 minutes: 12 rows wait to be written',
        remedy:
          'Answers go on, and what waits is written when it is back. See whether the server runs and can be reached.',
        href: '#events',
        sinceMs: START_MS + 5_280_000,
      },
      {
        key: 'uncovered',
        severity: 'warning',
        text: '4 experts of 160 are on no tab, so the coordinator computes them',
        remedy: 'More memory is needed: ask donors to lend more, or others to join.',
        href: '#map',
        sinceMs: START_MS + 1_000_000,
      },
      {
        key: 'troubled-tabs',
        severity: 'notice',
        text: 'p-Vd58: Missed 3 of its last 20 laps: its donor’s connection is slow.',
        remedy: 'The coordinator sends its work elsewhere meanwhile. Remove the tab if it stays so.',
        href: '#peers',
        sinceMs: START_MS + 5_000_000,
      },
    ],
    peers: peerIds.map((_, peer) =>
      makePeer(
        peer,
        layers.filter((_, layer) => held(peer, layer) > 0),
        layers.reduce((sum, _, layer) => sum + held(peer, layer), 0),
      ),
    ),
    placement: {
      epoch: 12,
      layers,
      expertsPerLayer,
      replicas: holders.map((row) => row.map((h) => h.length)),
      load: holders.map((row) => row.map((h) => (random() < 0.15 ? 0 : random() ** 3 * 40 * (h.length || 1)))),
      holders,
      peerIds,
    },
    flow: {
      tokensPerSecond: 21.4,
      tokensTotal: 48_213,
      lapsPerToken: layerCount,
      bytesPerToken: layerCount * 1240,
      floorBytesPerToken: layerCount * 1024,
      floorLapsPerToken: layerCount,
      drafts: { drafted: 1_200, accepted: 860 },
      tabShare: 0.973,
      uncoveredExperts: 4,
      uncoveredWork: 5_120,
      localLayers: { layers: [0], bytes: 2_400_000, share: 0.02, draftWork: 900 },
      audits: { comparedRows: 12_800, wrongRows: 1, uncheckedRows: 31, keptOut: 1 },
      timeSplitMs: { engine: 14.2, queue: 1.4, wire: 9.8, compute: null, localLayers: 0.4 },
      kvBytesInUse: 812_000,
      kvBytesPerToken: 1_152,
      mhaBytesPerToken: 12_288,
      tokensPerSecondHistory: Array.from({ length: 120 }, (_, i) =>
        i < 30 ? 0 : 17 + 6 * Math.sin(i / 9) + random() * 3,
      ),
    },
    adapters: {
      loaded: [
        {
          name: 'pirates',
          source: 'models/adapters/pirates',
          description: 'Stories of pirates: a captain, a ship with black sails, and treasure on the seven seas.',
          examples: 12,
          rank: 4,
          denseLayers: 6,
          expertLayers: 1,
          mixes: 0,
          bytes: 510_000,
          requests: 2,
          loadedMs: START_MS + 60_000,
        },
        {
          name: 'plain',
          source: 'plain',
          description: '',
          examples: 0,
          rank: 16,
          denseLayers: 6,
          expertLayers: 0,
          mixes: 0,
          bytes: 1_400_000,
          requests: 0,
          loadedMs: START_MS + 90_000,
        },
      ],
      loading: [{ name: 'rhymes', source: 'rhymes', sinceMs: START_MS + 5_397_000 }],
      bytes: 1_910_000,
      memoryBytes: 256 * 2 ** 20,
      takesMore: true,
    },
    requests: [
      {
        id: 'cmpl-91f0',
        state: 'decode',
        promptTokens: 12,
        completionTokens: 85,
        maxTokens: 200,
        drafted: 61,
        accepted: 44,
        ageMs: 4_200,
      },
      {
        id: 'cmpl-91f1',
        state: 'prefill',
        promptTokens: 410,
        completionTokens: 0,
        maxTokens: 64,
        drafted: 0,
        accepted: 0,
        ageMs: 600,
      },
    ],
    queuedRequests: 0,
    waits: {
      queue: { p50: 0.1, p95: 420 },
      firstToken: { p50: 310, p95: 1_270 },
      betweenTokens: { p50: 41.5, p95: 66 },
    },
  };
}

const sentences: [ConsoleEvent['level'], ConsoleEvent['kind'], string, number?][] = [
  ['info', 'server', 'Serving tiny-stories (q8) on port 8787.'],
  ['info', 'peer', 'p-7Kq2 joined with 1.00 GiB from 192.0.2.10.', 0],
  ['info', 'placement', 'Epoch 11: 32 experts of layer 3 go to p-7Kq2.', 0],
  ['warning', 'lap', 'p-Vd58 missed its deadline in layer 4; 12 rows went to p-mW41 in 31 ms.', 4],
  ['error', 'peer', 'p-Qq00 vanished during layer 3; 12 rows went to p-mW41 in 31 ms.'],
  ['info', 'request', 'cmpl-91ef finished: 200 tokens in 9.4 s.'],
  ['warning', 'placement', 'Epoch 12: experts 24–27 of layer 2 fit on no tab.'],
];

export function makeEvents(): ConsoleEvent[] {
  return sentences.map(([level, kind, text, peer], i) => {
    const peerId = peer === undefined ? undefined : peerIds[peer];
    return {
      seq: i + 1,
      timeMs: START_MS + i * 61_000,
      level,
      kind,
      text,
      ...(peerId === undefined ? {} : { peerId }),
    };
  });
}

const story =
  ' was| very| curious|.| Every| day|,| he| swam| to| the| big| rock| and| looked| up| at| the| light|.|\n| "|What| is| up| there|?"| he| asked| his| mom|.| "|That| is| the| sun|,"| she| said|.| "|It| makes| the| water| warm| and| br|ight|."|\n| The| little| fish| smiled|.| He| wanted| to| say| thank| you| to| the| sun|,| so| he| jumped| as| high| as| he| could|.| Spl|ash|!| All| of| his| friends| laughed| and| jumped| too|.';

/** Tokens with traces over the given layers: whole layers on one tab each, some shared by two, a few experts without a tab. */
export function storyTokens(count: number, layers: readonly number[]): TokenTrace[] {
  const words = story.split('|');
  const random = makeRandom(7);
  return Array.from({ length: count }, (_, i) => ({
    id: 1000 + i,
    text: words[i % words.length] ?? '',
    laps: layers.map((layer, row) => ({
      layer,
      lapMs: 2 + random() * 5 + (i % 23 === 11 ? 14 : 0),
      experts: Array.from({ length: 4 }, () => {
        const expert = Math.floor(random() * 32);
        const main = Math.floor((row * 4) / layers.length);
        const peer = expert >= 24 && layer % 2 === 0 ? main + 1 : main;
        const peerId = layer === 2 && expert >= 24 && expert < 28 ? null : (peerIds[peer] ?? null);
        return { expert, weight: 0.1 + random() * 0.5, peerId };
      }),
    })),
  }));
}
