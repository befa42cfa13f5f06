/** The API's paths with their methods. Others get 405. GET includes HEAD. A `*` at the end is anything but nothing. */
const API_PATHS: readonly (readonly [path: string, methods: string])[] = [
  ['/v1/completions', 'POST'],
  ['/v1/chat/completions', 'POST'],
  ['/v1/embeddings', 'POST'],
  ['/v1/messages', 'POST'],
  ['/v1/messages/count_tokens', 'POST'],
  ['/v1/responses', 'POST'],
  ['/v1/responses/input_tokens', 'POST'],
  ['/v1/responses/*', 'GET, DELETE, POST'],
  // vLLM and llama.cpp have these two without /v1.
  ['/v1/tokenize', 'POST'],
  ['/v1/detokenize', 'POST'],
  ['/v1/load_lora_adapter', 'POST'],
  ['/v1/unload_lora_adapter', 'POST'],
  ['/v1/gates', 'GET, POST'],
  ['/v1/usage', 'GET'],
  ['/v1/models', 'GET'],
  ['/v1/models/*', 'GET'],
  ['/shards/*', 'GET'],
  ['/donor-info', 'GET'],
  ['/swarm.json', 'GET'],
  ['/swarm/pictures/*', 'GET'],
  ['/admin/access', 'GET, PATCH'],
  ['/admin/access/import', 'POST'],
  ['/admin/keys', 'POST'],
  ['/admin/keys/*', 'PATCH, DELETE'],
  ['/admin/invites', 'POST'],
  ['/admin/invites/*', 'PATCH, DELETE'],
  ['/admin/admins', 'POST'],
  ['/admin/admins/*', 'PATCH, DELETE'],
  ['/admin/usage', 'GET'],
  ['/healthz', 'GET'],
  ['/readyz', 'GET'],
  ['/health', 'GET'],
  ['/ping', 'GET, POST'],
  ['/version', 'GET'],
  ['/metrics', 'GET'],
  ['/openapi.json', 'GET'],
];

/** Paths that pages of other origins may call. */
const CROSS_ORIGIN_PREFIXES = ['/v1/', '/shards/'];
/** Longer paths are compared with nothing. */
const MAX_COMPARED_CHARS = 128;

/** The methods of an API path; undefined for other paths, such as pages. */
export function apiMethods(path: string): string | undefined {
  return API_PATHS.find(([known]) => matches(known, path))?.[1];
}

export function isCrossOrigin(path: string): boolean {
  return CROSS_ORIGIN_PREFIXES.some((prefix) => path.startsWith(prefix));
}

/**
 * The URL that is meant by one with doubled or trailing slashes, without /v1 or with two of them, as base URLs with one part too few
 * or too many make them; others as they are. Routes, access rules and metrics see only the result. Nothing is decoded and no dots
 * are resolved, so a path is either one of the API's, letter by letter, or left to the chooser.
 */
export function servedUrl(url: string): string {
  const end = url.search(/[?#]/);
  const path = end < 0 ? url : url.slice(0, end);
  if (!path.startsWith('/')) return url;
  const plain = tidied(path);
  const meant = [plain, plain.replace(/^(\/v1)+(?=\/v1\/)/, ''), `/v1${plain}`].find(
    (one) => apiMethods(one) !== undefined,
  );
  return meant === undefined ? url : meant + url.slice(path.length);
}

/** A path of the API that a client may have meant: the end of what it asked for, or one edit away from it. */
export function similarPath(path: string): string | undefined {
  if (path.length > MAX_COMPARED_CHARS) return undefined;
  const asked = tidied(path.toLowerCase());
  const known = API_PATHS.map(([one]) => one).filter((one) => !one.endsWith('*'));
  return (
    known.find((one) => one === asked) ??
    known.find((one) => asked.endsWith(one)) ??
    known.find((one) => isOneEditAway(one, asked) || isOneEditAway(one, `/v1${asked}`))
  );
}

function tidied(path: string): string {
  return path.replace(/\/{2,}/g, '/').replace(/(?<=.)\/$/, '');
}

function matches(known: string, path: string): boolean {
  if (!known.endsWith('*')) return path === known;
  return path.length >= known.length && path.startsWith(known.slice(0, -1));
}

/** Whether one letter more, less or other, or two exchanged, makes `b` of `a`. */
function isOneEditAway(a: string, b: string): boolean {
  if (a.length < b.length) return isOneEditAway(b, a);
  if (a.length - b.length > 1) return false;
  let start = 0;
  while (start < b.length && a[start] === b[start]) start++;
  if (a.length > b.length) return a.slice(start + 1) === b.slice(start);
  if (a.slice(start + 1) === b.slice(start + 1)) return true;
  const isExchanged = a[start] === b[start + 1] && a[start + 1] === b[start];
  return isExchanged && a.slice(start + 2) === b.slice(start + 2);
}
