import { z } from 'zod';
import { list } from './list.ts';
import { MAX_HAD, MAX_SOUGHT } from './limits.ts';
import { iceServerSchema, signalSchema } from './signalling.ts';

/** Messages about shards that tabs hand to each other, where operator and donors have agreed to that. */

const tabName = z.string().min(1).max(64);
/** As in `hello.kept`. */
const shardName = z.string().regex(/^[0-9a-f]{16}$/);

/**
 * Why a tab leaves another one alone. `lacking`: it does not have the shard, which is no fault. `wrong-bytes`: what it sent is not
 * the shard.
 */
export const TAB_FAULTS = ['lacking', 'unreachable', 'stalled', 'wrong-bytes'] as const;
export type TabFault = (typeof TAB_FAULTS)[number];

/** Donor → coordinator, event `seek`, acknowledged with a SeekReply: what the tab has to give, and what it wants. A few a second at most. */
export const seekSchema = z.object({
  /** Shards that it has since the last message. */
  have: list(shardName).max(MAX_HAD),
  /** Shards that it lacks and has no source for, in its order of preference. */
  wanted: list(shardName).max(MAX_SOUGHT),
  faults: list(z.object({ tab: tabName, shard: shardName, fault: z.enum(TAB_FAULTS) })).max(MAX_SOUGHT),
});
export type Seek = z.infer<typeof seekSchema>;

/** Where to get shards: of what was wanted and is not listed, another tab will have it soon, so the tab asks again. */
export const seekReplySchema = z.object({
  routes: z
    .array(z.object({ shard: shardName, /** A tab; without it, the coordinator. */ tab: tabName.optional() }))
    .max(MAX_SOUGHT),
});
export type SeekReply = z.infer<typeof seekReplySchema>;

/** Coordinator → donor, event `tab-link`: open a connection to another tab, or close it. Both ends are told, and one of them initiates. */
export const tabLinkSchema = z.discriminatedUnion('open', [
  z.object({ tab: tabName, open: z.literal(true), initiate: z.boolean(), iceServers: z.array(iceServerSchema).max(8) }),
  z.object({ tab: tabName, open: z.literal(false) }),
]);
export type TabLink = z.infer<typeof tabLinkSchema>;

/** Both ways, event `tab-signal`: a signal for, or from, another tab, which the coordinator has told of the link. */
export const tabSignalSchema = z.object({ tab: tabName, signal: signalSchema });
export type TabSignal = z.infer<typeof tabSignalSchema>;

/** Events beside those of every donor. */
export interface TabToCoordinator {
  seek(message: Seek, reply: (answer: SeekReply) => void): void;
  'tab-signal'(message: TabSignal): void;
}
export interface CoordinatorToTab {
  'tab-link'(message: TabLink): void;
  'tab-signal'(message: TabSignal): void;
}
