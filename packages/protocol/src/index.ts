export {
  ACCESS_KINDS,
  accessNameSchema,
  ADDRESS_LIMITS,
  entryChangeSchemas,
  expirySchema,
  limitSchema,
  MAX_ACCESS_ENTRIES,
  MAX_USAGE_DAYS,
  newEntrySchemas,
  roleSchema,
  rulesChangeSchema,
  USAGE_PARTS,
  usageQuerySchema,
} from './access.ts';
export type { AccessKind, AccessView, AddressLimit, AdminView, EntryChange, EntryViews, InviteView } from './access.ts';
export type { KeyView, MadeEntry, NewEntry, RulesChange, RulesView } from './access.ts';
export type { UsagePart, UsageQuery, UsageReport, UsageRow } from './access.ts';
export { banMinutesSchema, banReasonSchema, MAX_BAN_MINUTES, MAX_BAN_REASON_CHARS, newBanSchema } from './bans.ts';
export type { BansView, BanView, NewBan, QuarantineView } from './bans.ts';
export { attentionItemSchema, ranked, SEVERITIES } from './attention.ts';
export type { AlertMessage, AlertsView, AttentionItem, Severity } from './attention.ts';
export { HISTORY_RANGES, historyQuerySchema } from './history.ts';
export type { History, HistoryPoint, HistoryQuery, HistoryRange, HistoryTotals } from './history.ts';
export type { Command, CommandReply, ConsoleEvent, ConsoleRole, ConsoleSnapshot, FlowView } from './console.ts';
export type { CoordinatorFigures, CoordinatorView } from './console.ts';
export type {
  AdapterCommand,
  AdaptersView,
  AdapterView,
  GivenCommand,
  PeerCommand,
  RequestCommand,
} from './console.ts';
export type { PeerState, PeerView, PlacementView, RequestView, WaitView } from './console.ts';
export { commandSchema } from './console.ts';
export {
  contributionAskSchema,
  contributionReplySchema,
  contributionRequestSchema,
  contributionSchema,
  figuresSchema,
} from './contribution.ts';
export type { Contribution, ContributionAsk, ContributionMade, ContributionReply } from './contribution.ts';
export type { ContributionRequest, Figures, SwarmView, TeamView } from './contribution.ts';
export { displayNameSchema, MAX_NAME_CHARS, nameKey } from './names.ts';
export { type ControlMessage, parseControl } from './control.ts';
export { DONOR_INFO_PATH, donorInfoSchema, type DonorInfo } from './donor-info.ts';
export { combineLayouts, decodeCombine, encodeCombine, notFiniteRows, type CombineFrame } from './frames/combine.ts';
export { decodeCancel, encodeCancel } from './frames/cancel.ts';
export { decodeDispatch, dispatchLayouts, encodeDispatch, isOlderEpoch } from './frames/dispatch.ts';
export type { DispatchFrame } from './frames/dispatch.ts';
export { allExpertKinds, type ExpertNeeds, LOW_RANK_KIND, missingExpertKind } from './expert-kinds.ts';
export { FrameError, type FrameErrorReason } from './frames/error.ts';
export { BLOCK as ROW_BLOCK, peekFrame } from './frames/layout.ts';
export { decodeRefuse, encodeRefuse, type LapRefusal } from './frames/refuse.ts';
export { itemRows, largestStep, ROW_FORMATS, roundedRows } from './frames/row-format.ts';
export type { EncodedRows, RowFormat } from './frames/row-format.ts';
export { MAX_LAP_ID } from './frames/types.ts';
// Frames carry f16, and a peer may import this package but not the model's.
export { decodeF16, encodeF16 } from '@shoal/model';
export {
  CONNECT_TIMEOUT_MS,
  HEARTBEAT_MS,
  HELLO_TIMEOUT_MS,
  MAX_FRAME_BYTES,
  MAX_KEPT_SHARDS,
  MAX_PLEDGE_BYTES,
  PATH_TIMEOUT_MS,
} from './limits.ts';
export { LAB_MAX_TOKENS, labRequestSchema, OWN_GATE } from './lab.ts';
export type { GateSetting, LabFacts, LabGate, LabLayer, LabRequest, LabStudy, LayerFigures } from './lab.ts';
export { type Challenge, challengeSchema, nonceSchema, type Proof, type ProofPurpose } from './identity.ts';
export { proofSchema, proofText } from './identity.ts';
export { isList, list } from './list.ts';
export { DUTY_WINDOW_MS, DutyAccount } from './duty-account.ts';
export { NO_LIMITS, promiseSchema, REST_REASONS, type RestReason, type TabPromise } from './promise.ts';
export { MAX_PROMISES_PER_MINUTE, MAX_REST_MS, MIN_SHARE } from './limits.ts';
export { explainNoPath, noPathSchema, type CandidateCounts, type NoPath, type NoPathCause } from './no-path.ts';
export {
  MAX_ADAPTER_SHARD_BYTES,
  MAX_ADAPTER_SHARDS_PER_MESSAGE,
  MAX_ADAPTER_SHARDS_PER_TAB,
  MAX_CANDIDATES,
  MAX_COORDINATORS,
  MAX_LAP_CONNECTIONS,
  MAX_SHARDS_PER_ASSIGNMENT,
  MAX_MESSAGE_BYTES,
  MAX_ASSIGNMENTS_PER_LAP,
  MAX_ROWS_PER_LAP,
  MAX_TABS_PER_DONOR,
} from './limits.ts';
export { MAX_SIGNALLING_FROM_DONOR_BYTES, MAX_SIGNALLING_MESSAGES_PER_SECOND } from './limits.ts';
export { MAX_SIGNALLING_BYTES_PER_SECOND, MIN_FRAGMENT_PAYLOAD_BYTES, SIGNALLING_BURST_BYTES } from './limits.ts';
export { MAX_SHARD_URLS, SIGNALLING_BURST_MESSAGES } from './limits.ts';
export type {
  Adapted,
  AdapterInfo,
  AdapterShardRef,
  AdapterShards,
  Assign,
  CoordinatorToDonor,
  Dismissed,
  DonorToCoordinator,
  Guest,
  GuestRefused,
  Hello,
} from './signalling.ts';
export type { HelloReply, IceServer, Intent, Progress, Ready, RefusalCode } from './signalling.ts';
export type { ShardRef, Signal, Standing, Trouble } from './signalling.ts';
export {
  adaptedSchema,
  adapterSchema,
  adapterShardsSchema,
  assignSchema,
  coordinatorIdSchema,
  dismissedSchema,
  donorTokenSchema,
  guestRefusedSchema,
  guestSchema,
  helloReplySchema,
  helloSchema,
} from './signalling.ts';
export { iceServerSchema, intentSchema, inviteTokenSchema, keptName, progressSchema } from './signalling.ts';
export { readySchema, signalSchema, standingSchema, troubleSchema } from './signalling.ts';
export type { SettingForm, SettingsView, SettingValue, SettingView } from './settings.ts';
export { decodeShardFrame, encodeShardFrame, MAX_SHARD_FRAME_BYTES, type ShardFrame } from './shard-frames.ts';
export { MAX_HAD, MAX_SOUGHT, MAX_TAB_LINKS, MAX_TAB_SIGNALS, PART_BYTES } from './limits.ts';
export { seekReplySchema, seekSchema, TAB_FAULTS, tabLinkSchema, tabSignalSchema } from './tab-to-tab.ts';
export type {
  CoordinatorToTab,
  Seek,
  SeekReply,
  TabFault,
  TabLink,
  TabSignal,
  TabToCoordinator,
} from './tab-to-tab.ts';
export { fetchedSchema, MIRROR_FAULTS, SHARD_ORIGINS, shardUrl, shardUrlSchema } from './shard-sources.ts';
export type { Fetched, MirrorFault, ShardOrigin } from './shard-sources.ts';
export { chunkTraceSchema, type TokenLap, type TokenTrace } from './trace.ts';
export { negotiateVersion, PROTOCOL_VERSION, SUPPORTED_VERSIONS } from './version.ts';
