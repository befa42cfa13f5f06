/** Routes of the API outside /v1, where vLLM and llama.cpp have them. */
const OUTSIDE_V1 = ['/tokenize', '/detokenize'];

/** Whether a route, or a path, belongs to the API: it requires a key where keys are required, and pages may call it. */
export function isApiRoute(path: string): boolean {
  return path.startsWith('/v1/') || OUTSIDE_V1.includes(path);
}
