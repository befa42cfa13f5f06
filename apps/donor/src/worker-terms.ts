import { type CoordinatorUrl, placeOf } from '@shoal/protocol/page';
import type { Welcome } from './coordinator-connection.ts';
import type { ToWorker } from './messages.ts';

/** What the worker is told of a coordinator that has let the tab in. */
export function workerTerms(
  coordinator: CoordinatorUrl,
  { model, heartbeatMs, shardUrls = [] }: Welcome,
  pledgeBytes: number,
): Omit<Extract<ToWorker, { type: 'configure' }>, 'type'> {
  return {
    model,
    pledgeBytes,
    heartbeatMs,
    shardsAt: placeOf(coordinator, '/shards/'),
    // Of mirrors with signed URLs, the coordinator names a path of its own.
    shardUrls: shardUrls.map((url) => placeOf(coordinator, url)),
  };
}
