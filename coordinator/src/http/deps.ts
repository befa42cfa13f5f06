import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { GenerationService } from '../scheduler/generation.ts';
import type { HttpAccess } from './api-access.ts';
import type { TextCodec } from './codec.ts';

/** Everything that a stranger can make large or slow. Each default is a constant below, with its reason. */
export interface HttpLimits {
  bodyBytes: number;
  headerBytes: number;
  paramChars: number;
  headersTimeoutMs: number;
  requestTimeoutMs: number;
  keepAliveTimeoutMs: number;
  connections: number;
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
  // Headers come in one packet from any honest client; ten seconds allow for a lost packet on a bad line, not for slow-loris.
  headersTimeoutMs: 10_000,
  // 1 MiB at 0.5 Mbit/s takes 17 s.
  requestTimeoutMs: 30_000,
  // Longer than the openai client's own pause between calls, short enough that idle sockets do not pile up.
  keepAliveTimeoutMs: 20_000,
  // Donors' signalling sockets are on the same port; common limits for open files are 65,536.
  connections: 20_000,
  // The openai clients give up after ten minutes by default, so nobody is left to read a later answer.
  answerDeadlineMs: 600_000,
  // A phone that changes from Wi-Fi to mobile is silent for some 10 s; after 30 s a full buffer is only held memory.
  stallMs: 30_000,
  // Common proxies cut a response that has been silent for 30 to 60 s.
  sseKeepAliveMs: 15_000,
  // Four prompts with the largest n, or 32 prompts: enough for evaluation harnesses, and one request cannot fill a queue.
  choicesPerRequest: 32,
};

export interface SamplingDefaults {
  temperature: number;
  topP: number;
}

export interface HttpDeps {
  generation: GenerationService;
  codec: TextCodec;
  log: Logger;
  registry: Registry;
  /** From the model's generation_config.json; used where a request leaves them out. */
  defaults: SamplingDefaults;
  /** A shard's file by its SHA-256 (64 lower-case hex digits). */
  shard(sha256: string): { path: string; bytes: number } | undefined;
  readiness(): { ready: boolean; detail: object };
  /** Built pages. A root that is left out is not served. */
  staticRoots: { donor?: string; console?: string };
  limits?: Partial<HttpLimits>;
  /** Left out: no keys, and shards for everybody. */
  access?: HttpAccess;
  /** Origins whose pages may call /v1; default `*`. See `cors.ts` for why that is safe. */
  corsOrigins?: '*' | readonly string[];
  /** Changes when the answers to a seeded request may change; default: derived from the model's id and the versions. */
  systemFingerprint?: string;
}
