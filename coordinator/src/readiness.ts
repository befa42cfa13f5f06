import type { Core } from './core.ts';
import type { JoinedCluster, SharedParts } from './open-cluster.ts';

/** What /readyz says. It names no file, since anyone may ask. */
export function readinessOf(
  { scheduler, swarm, health }: Core,
  { shared }: JoinedCluster,
  isDraining: boolean,
): { ready: boolean; detail: object } {
  const damaged = `${health.damaged} ${health.damaged === 1 ? 'file' : 'files'} of the packed model`;
  const problem =
    health.damaged > 0 ? `${damaged} damaged beyond mending: see the log or the console's events` : undefined;
  const reason = isDraining ? 'shutting down' : problem;
  const { shards, checked: checkedShards } = health.progress;
  const tabs = [...swarm.serving()].length;
  const cluster = shared && describeCluster(shared.cluster);
  const detail = {
    ...(cluster && { cluster }),
    model: scheduler.modelId,
    tabs,
    uncoveredExperts: swarm.uncovered(),
    shards,
    checkedShards,
  };
  return { ready: reason === undefined, detail: { ...(reason !== undefined && { reason }), ...detail } };
}

/** A coordinator that is cut off from the database serves all the same. */
function describeCluster({ members, lease }: SharedParts['cluster']): object {
  return { members: members.alive().length, leads: lease.held !== undefined, isCut: members.isCut };
}
