import type { IncomingMessage } from 'node:http';
import type { TemplateTraits } from '@shoal/model';
import type { AlertsView, DonorInfo, History, HistoryQuery } from '@shoal/protocol';
import type { Server } from 'node:net';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { AccessBook } from '../access/access-book.ts';
import type { ApiKeys } from '../access/api-keys.ts';
import type { Adapters } from '../adapters/adapters.ts';
import type { ShardUrl } from '../base/shard-url.ts';
import type { Convention } from '../conventions/index.ts';
import type { Grammars } from '../grammar/index.ts';
import type { EmbeddingService } from '../scheduler/encoder/encoder-scheduler.ts';
import type { LabService } from '../lab/lab.ts';
import type { GenerationRequest, GenerationService } from '../scheduler/generation.ts';
import type { Bans } from '../bans/index.ts';
import type { Settings } from '../settings/index.ts';
import type { TextCodec } from './codec.ts';
import type { S3Credentials } from './s3-presign.ts';
import type { SwarmPage } from './swarm.ts';
import type { SourceModel } from './source-model.ts';

/** Bounds on everything that a client can make large or slow. The defaults below have their reasons. */
export interface HttpLimits {
  bodyBytes: number;
  headerBytes: number;
  paramChars: number;
  headersTimeoutMs: number;
  requestTimeoutMs: number;
  keepAliveTimeoutMs: number;
  connections: number;
  /** Pipelined requests of one connection that wait for the answers before them. */
  waitingPerConnection: number;
  /** The same of all connections together. */
  waitingInAll: number;
  /** From the request's arrival to the last byte of its answer. */
  answerDeadlineMs: number;
  /** How long a reader may leave a full buffer unread. */
  stallMs: number;
  sseKeepAliveMs: number;
  /** prompts × n of one request. */
  choicesPerRequest: number;
}

export const DEFAULT_HTTP_LIMITS: HttpLimits = {
  // A prompt that fills a 128 Ki-token context is about 0.5 MiB of JSON; twice that leaves room for escapes.
  bodyBytes: 1 << 20,
  // Node's own default. Bearer tokens and the openai client's headers together stay under 2 KiB.
  headerBytes: 16 << 10,
  // A SHA-256 has 64 digits; a model id of the form `owner/name` at most about 200 characters.
  paramChars: 256,
  // An honest client's headers come in one packet. Ten seconds allow for a lost one on a bad line, but not for slow-loris.
  headersTimeoutMs: 10_000,
  // 1 MiB at 0.5 Mbit/s takes 17 s.
  requestTimeoutMs: 30_000,
  // Longer than any common proxy keeps an idle connection to what is behind it, since a request that meets its end is lost: nginx
  // 60 s, AWS's balancers 60 s (by default), Go's 90 s (Traefik), Caddy 120 s, Azure's 240 s, Google's a fixed 600 s, with 620 s as
  // its advice to servers. Idle sockets make way when there are many (OrderlyServer).
  keepAliveTimeoutMs: 620_000,
  // Donors' signalling sockets are on the same port; common limits for open files are 65,536.
  connections: 20_000,
  // No browser and no OpenAI client pipelines; scripts that do send a handful. Each may hold 16 KiB of headers.
  waitingPerConnection: 32,
  // With its headers and 8 KiB of body, 24 MiB in all.
  waitingInAll: 1024,
  // The openai clients give up after ten minutes by default, so a later answer would have no reader.
  answerDeadlineMs: 600_000,
  // A phone that changes from Wi-Fi to mobile is silent for about 10 s. After 30 s a full buffer only holds memory.
  stallMs: 30_000,
  // Common proxies cut a response that has been silent for 30 to 60 s.
  sseKeepAliveMs: 15_000,
  // Four prompts with the largest n, or 32 prompts: enough for evaluation harnesses, and one request cannot fill a queue.
  choicesPerRequest: 32,
};

/** Undefined: the parameter has no effect. */
export interface SamplingDefaults {
  temperature: number;
  topP: number;
  topK?: number | undefined;
  minP?: number | undefined;
  repetitionPenalty?: number | undefined;
}

/** Limits access to answers, weights and metrics. */
export interface HttpAccess {
  keys: ApiKeys;
  /** Takes a shard's bytes from the client's allowance and returns 0, or the milliseconds until there is enough. */
  takeShardBytes(request: IncomingMessage, bytes: number): number;
  /** Why a client with this token may not read the metrics; undefined if it may. */
  refuseMetrics(request: IncomingMessage, token: string | undefined): string | undefined;
  /** Why a client with this Authorization header may not command the coordinator; undefined if it may. */
  refuseOperator(request: IncomingMessage, authorization: string | undefined): OperatorRefusal | undefined;
  /** The address that a request is counted by: an IPv4 address or an IPv6 network. */
  addressOf(request: IncomingMessage): string;
  /** Without it, there is nothing at /admin. */
  admin?: AdminAccess;
}

/** What admins do over HTTP. */
export interface AdminAccess {
  /** The admin with this Authorization header, or why it may not be. */
  check(
    request: IncomingMessage,
    authorization: string | undefined,
    needs: 'viewer' | 'operator',
  ): SignedInAdmin | OperatorRefusal;
  settings: Settings;
  bans: Bans;
  /** Whom wrong results keep out, and until when in epoch milliseconds. */
  quarantines(): { key: string; untilMs: number }[];
  /** What donors call themselves; both say whether there was such a one, and reject while the database is away. Without it, nobody has a name. */
  names?: { clearName(name: string): Promise<boolean>; dissolveTeam(id: number): Promise<boolean> } | undefined;
  /** The books, in which `by` makes the changes. */
  book(by: string): AccessBook;
  /** Tells everyone at the console what an admin did. */
  note(request: IncomingMessage, admin: string, what: string): void;
}

/** What is told of a coordinator while nobody looks, for admins. */
export interface WatchAccess {
  /** Rejects while the database is away. */
  history(query: HistoryQuery): Promise<History>;
  alerts(): AlertsView;
  /** Sends a message that is about nothing; why it could not be delivered, or null. */
  testAlert(admin: string): Promise<string | null>;
}

export interface SignedInAdmin {
  name: string;
  role: 'viewer' | 'operator';
}

export interface OperatorRefusal {
  status: 401 | 403;
  code: string;
  message: string;
}

/** Mirrors of the shards, and what tabs say that they have fetched elsewhere. */
export interface ShardMirrors {
  urls: readonly ShardUrl[];
  /** For those whose URLs are signed. */
  s3?: S3Credentials | undefined;
  /** Bytes so far. */
  tabBytes(): Record<'mirror' | 'tab', number>;
}

export interface HttpDeps {
  generation: GenerationService;
  /** Of an encoder, which makes embeddings and no text; undefined for other models. */
  embeddings?: EmbeddingService | undefined;
  /** Of an encoder–decoder, whose prompts are sources; undefined for other models. */
  source?: SourceModel | undefined;
  /** Undefined where texts can't be looked at in the lab. */
  lab?: LabService | undefined;
  codec: TextCodec;
  grammars: Pick<Grammars, 'compile'>;
  /** How the model writes tool calls and reasoning. */
  convention: Convention;
  /** Undefined if the model has no chat template. */
  templateTraits: TemplateTraits | undefined;
  /** Other names of the model, which clients may have in their settings. */
  aliases: readonly string[];
  /** Adapters, which requests may name as their model; none by default. */
  adapters?: Pick<Adapters, 'find' | 'all' | 'load' | 'unload' | 'isAuto' | 'choose'>;
  /** The directory from which adapters may be loaded at run time; by default none may. */
  adapterRoot?: string | undefined;
  /** Whether a request with a parameter that is not known is refused; it is ignored otherwise. */
  strictParameters?: boolean;
  log: Logger;
  registry: Registry;
  /** From the model's generation_config.json, for requests that do not set them. */
  defaults: SamplingDefaults;
  /** A shard by its SHA-256 (64 lower-case hex digits): an expert's file, or what an adapter adds to one. */
  shard(
    sha256: string,
  ): { path: string; bytes: number } | { contents: () => Uint8Array<ArrayBuffer>; bytes: number } | undefined;
  /** Where else the shards are; nowhere by default. */
  mirrors?: ShardMirrors | undefined;
  readiness(): { ready: boolean; detail: object };
  /** What donors are told before they lend; without it, there is no /donor-info. */
  donorInfo?: () => DonorInfo;
  /** Whose credit a request uses that has this token; undefined if nobody's. */
  credit?: (token: string) => Promise<(GenerationRequest['credit'] & { client: string }) | undefined>;
  /** What everybody may know of the swarm; without it, there is no /swarm.json. */
  swarmPage?: SwarmPage;
  /** Folders of the built pages. A missing one is not served. */
  staticRoots: { donor?: string; console?: string };
  /** Whether the donor page offers to exchange weights with other tabs. */
  offersTabToTab?: boolean;
  /** Sites that may show the embed, as `--embed-sites` takes them; by default all. */
  embedSites?: () => string;
  limits?: Partial<HttpLimits>;
  /** A server that listens already, whose address `listen` takes over (`holdAddress`). */
  listener?: Server;
  /** Without it, no keys are required and shards are unlimited. */
  access?: HttpAccess;
  /** Without it, admins find no history and no alerts. */
  watch?: WatchAccess;
  /** Origins whose pages may call /v1; default `*`. `corsHeaders` explains why that is safe. */
  corsOrigins?: '*' | readonly string[];
  /** Changes when the answers to a seeded request may change. Derived from the model's id and the versions by default. */
  systemFingerprint?: string;
}
