export type { HttpAccess } from './api-access.ts';
export { buildHttpServer } from './server.ts';
export { DEFAULT_HTTP_LIMITS, type HttpDeps, type HttpLimits, type SamplingDefaults } from './deps.ts';
export { tokenizerCodec } from './codec.ts';
export type { ChatMessage, StreamDetokenizer, TextCodec } from './codec.ts';
