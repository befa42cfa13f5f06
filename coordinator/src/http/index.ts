export { bearerToken, isScopeIn } from './api-access.ts';
export { buildHttpServer } from './server.ts';
export {
  type AdminAccess,
  DEFAULT_HTTP_LIMITS,
  type HttpAccess,
  type HttpDeps,
  type HttpLimits,
  type OperatorRefusal,
  type SignedInAdmin,
  type SamplingDefaults,
} from './deps.ts';
export { tokenizerCodec } from './codec.ts';
export { sourceModel } from './source-model.ts';
export type { StreamDetokenizer, TextCodec } from './codec.ts';
export { type HeldAddress, holdAddress, type StartProgress } from './held-address.ts';
export { mirrorTemplates, s3Credentials } from './signed-mirrors.ts';
export type { ShardMirrors } from './deps.ts';
