import { isCrossOrigin } from './api-paths.ts';

/** `origins`: other places that the pages may fetch weights from. */
const contentSecurityPolicy = (origins: readonly string[]): string =>
  [
    "default-src 'self'",
    // A tab without WebGPU computes in WebAssembly.
    "script-src 'self' 'wasm-unsafe-eval'",
    // By CSP 3 this includes WebSockets to the same host and port. Browsers that do not follow it yet (Chrome before 71, Safari
    // before 16) leave socket.io with polling. The pages connect to nothing else but mirrors of shards.
    ["connect-src 'self'", ...new Set(origins)].join(' '),
    "img-src 'self' data:",
    "style-src 'self' 'unsafe-inline'",
    "worker-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join('; ');

/** Headers of every response. COOP and COEP isolate the pages, which WebAssembly threads (SharedArrayBuffer) need. */
export const securityHeaders = (origins: readonly string[]): Readonly<Record<string, string>> => ({
  'content-security-policy': contentSecurityPolicy(origins),
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), microphone=(), geolocation=(), payment=(), usb=(), serial=(), midi=()',
});

/** Of a coordinator without mirrors. */
export const SECURITY_HEADERS = securityHeaders([]);

/** Chromium's limit for caching the answer to a preflight. */
const PREFLIGHT_MAX_AGE_S = 7200;

/** Headers that pages of other origins may read, besides the always readable ones. */
const EXPOSED_HEADERS = [
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
  'x-request-id',
  'request-id',
  'x-shoal-ignored-parameters',
  'x-shoal-model',
  'x-shoal-similarity',
  ...['requests', 'tokens'].flatMap((what) =>
    ['limit', 'remaining', 'reset'].map((part) => `x-ratelimit-${part}-${what}`),
  ),
].join(', ');

/**
 * CORS headers for one request, or none. Any origin is allowed by default: the API has no cookies or other ambient
 * credentials, so a page can do no more than any program with the same address. Allow-Credentials is never sent.
 * `corsOrigins` restricts the origins for a coordinator inside a private network.
 */
export function corsHeaders(
  path: string,
  headers: { origin?: string | undefined; 'access-control-request-headers'?: string | undefined },
  allowed: '*' | readonly string[],
): Record<string, string> {
  if (!isCrossOrigin(path)) return {};
  const { origin } = headers;
  if (allowed !== '*' && (origin === undefined || !allowed.includes(origin))) return { vary: 'Origin' };
  const asked = headers['access-control-request-headers'];
  return {
    'access-control-allow-origin': allowed === '*' ? '*' : (origin ?? ''),
    ...(allowed === '*' ? {} : { vary: 'Origin' }),
    'access-control-allow-methods': 'GET, POST, DELETE',
    // OpenAI's and Anthropic's clients send a dozen x-stainless-* and anthropic-* headers, and `*` would not cover Authorization.
    ...(asked === undefined ? {} : { 'access-control-allow-headers': asked }),
    'access-control-expose-headers': EXPOSED_HEADERS,
    'access-control-max-age': String(PREFLIGHT_MAX_AGE_S),
    'cross-origin-resource-policy': 'cross-origin',
  };
}
