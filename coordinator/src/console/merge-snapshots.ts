import type { ConsoleSnapshot, FlowView, PeerView, PlacementView, WaitView } from '@shoal/protocol';

/** A coordinator's snapshot, with its name for people. */
export interface NamedSnapshot {
  name: string;
  snapshot: ConsoleSnapshot;
}

/** One snapshot of all coordinators of a swarm: the first's, with the tabs, requests and figures of the others. */
export function mergeSnapshots(all: readonly [NamedSnapshot, ...NamedSnapshot[]]): ConsoleSnapshot {
  const own = all[0].snapshot;
  const snapshots = all.map(({ snapshot }) => snapshot);
  const placement = mergePlacements(snapshots.map((one) => one.placement));
  const uncoveredExperts = placement.replicas.flat().filter((replicas) => replicas === 0).length;
  const flow = { ...mergeFlows(snapshots.map((one) => one.flow)), uncoveredExperts };
  return {
    ...own,
    verdict: mergeVerdicts(own.verdict, all, flow),
    peers: all.flatMap(({ name, snapshot }) =>
      peersOf(snapshot, own.nowMs, flow.tokensTotal).map((peer) => ({ ...peer, coordinator: name })),
    ),
    placement,
    flow,
    requests: all.flatMap(({ name, snapshot }) =>
      snapshot.requests.map((request) => ({ ...request, coordinator: name })),
    ),
    queuedRequests: sum(snapshots, (one) => one.queuedRequests),
    waits: {
      queue: longestWait(snapshots.map(({ waits }) => waits.queue)),
      firstToken: longestWait(snapshots.map(({ waits }) => waits.firstToken)),
      betweenTokens: longestWait(snapshots.map(({ waits }) => waits.betweenTokens)),
    },
  };
}

/** Each coordinator has its own clock, which only shows distances, and its own work, of which tokens are the measure. */
function peersOf({ peers, nowMs, flow }: ConsoleSnapshot, ownMs: number, tokensTotal: number): PeerView[] {
  const share = tokensTotal === 0 ? 1 : flow.tokensTotal / tokensTotal;
  return peers.map((peer) => ({ ...peer, sinceMs: peer.sinceMs + ownMs - nowMs, workShare: peer.workShare * share }));
}

function mergeVerdicts(
  own: ConsoleSnapshot['verdict'],
  all: readonly NamedSnapshot[],
  { uncoveredExperts }: FlowView,
): ConsoleSnapshot['verdict'] {
  if (own.state === 'draining') return own;
  const tabs = new Set(all.flatMap(({ snapshot }) => snapshot.placement.peerIds)).size;
  const who = `${all.length} coordinators serve`;
  const isLocal = all[0]!.snapshot.placement.layers.length === 0;
  if (tabs === 0 && !isLocal) {
    const text = `${who} alone: they compute every expert themselves.`;
    return { state: 'alone', text };
  }
  const on = `${who} on ${tabs} ${tabs === 1 ? 'tab' : 'tabs'}`;
  if (uncoveredExperts > 0) {
    const text = `${on}; they compute ${uncoveredExperts} ${uncoveredExperts === 1 ? 'expert' : 'experts'} themselves.`;
    return { state: 'uncovered', text };
  }
  return {
    state: 'serving',
    text: isLocal ? `${who}.` : `${on}, which hold every expert.`,
  };
}

/** A tab that several serve from counts once. */
function mergePlacements(all: readonly PlacementView[]): PlacementView {
  const own = all[0]!;
  const peerIds = [...new Set(all.flatMap((one) => one.peerIds))];
  const indexOf = new Map(peerIds.map((peerId, i) => [peerId, i]));
  const same = all.filter(({ layers }) => layers.length === own.layers.length);
  const holders = own.holders.map((row, layer) =>
    row.map((_, expert) => {
      const found = same.flatMap((one) =>
        (one.holders[layer]?.[expert] ?? []).map((index) => indexOf.get(one.peerIds[index]!)!),
      );
      return [...new Set(found)];
    }),
  );
  return {
    ...own,
    epoch: Math.max(...all.map(({ epoch }) => epoch)),
    peerIds,
    holders,
    replicas: holders.map((row) => row.map((cell) => cell.length)),
    load: own.load.map((row, layer) => row.map((_, expert) => sum(same, ({ load }) => load[layer]?.[expert] ?? 0))),
  };
}

/** Counts are added. Figures per token are averaged over the tokens that each has made. */
function mergeFlows(all: readonly FlowView[]): FlowView {
  const own = all[0]!;
  const mean = (read: (flow: FlowView) => number | null): number | null => {
    const known = all.flatMap((flow) => {
      const value = read(flow);
      return value === null ? [] : [{ value, weight: flow.tokensTotal + 1 }];
    });
    return known.length === 0 ? null : sum(known, (k) => k.value * k.weight) / sum(known, (k) => k.weight);
  };
  return {
    ...own,
    tokensPerSecond: sum(all, (flow) => flow.tokensPerSecond),
    tokensTotal: sum(all, (flow) => flow.tokensTotal),
    lapsPerToken: mean((flow) => flow.lapsPerToken),
    drafts: { drafted: sum(all, ({ drafts }) => drafts.drafted), accepted: sum(all, ({ drafts }) => drafts.accepted) },
    bytesPerToken: mean((flow) => flow.bytesPerToken),
    tabShare: mean((flow) => flow.tabShare),
    uncoveredWork: sum(all, (flow) => flow.uncoveredWork),
    localLayers: {
      ...own.localLayers,
      bytes: sum(all, ({ localLayers }) => localLayers.bytes),
      share: mean(({ localLayers }) => localLayers.share),
      draftWork: sum(all, ({ localLayers }) => localLayers.draftWork),
    },
    audits: {
      comparedRows: sum(all, ({ audits }) => audits.comparedRows),
      wrongRows: sum(all, ({ audits }) => audits.wrongRows),
      uncheckedRows: sum(all, ({ audits }) => audits.uncheckedRows),
      // All know the same.
      keptOut: Math.max(...all.map(({ audits }) => audits.keptOut)),
    },
    timeSplitMs: {
      engine: mean(({ timeSplitMs }) => timeSplitMs.engine),
      queue: mean(({ timeSplitMs }) => timeSplitMs.queue),
      wire: mean(({ timeSplitMs }) => timeSplitMs.wire),
      compute: mean(({ timeSplitMs }) => timeSplitMs.compute),
      localLayers: mean(({ timeSplitMs }) => timeSplitMs.localLayers),
    },
    kvBytesInUse: sum(all, (flow) => flow.kvBytesInUse),
    tokensPerSecondHistory: addHistories(all.map((flow) => flow.tokensPerSecondHistory)),
  };
}

/** Their last seconds are the same one. */
function addHistories(all: readonly (readonly number[])[]): number[] {
  const length = Math.max(...all.map((history) => history.length));
  return Array.from({ length }, (_, i) => sum(all, (history) => history[history.length - length + i] ?? 0));
}

/** Of the coordinator where it is longest. */
function longestWait(all: readonly WaitView[]): WaitView {
  const longest = all.toSorted((a, b) => (b.p95 ?? -1) - (a.p95 ?? -1));
  return longest[0]!;
}

function sum<T>(all: readonly T[], read: (one: T) => number): number {
  return all.reduce((total, one) => total + read(one), 0);
}
