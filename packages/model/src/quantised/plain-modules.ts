/**
 * Modules that a config says are stored plain. Tools write whole names ("lm_head"), names of what contains them
 * ("model.layers.0.self_attn"), names with `*`, and regular expressions ("re:.*mlp\.(gate|up)_proj.*"). Of the latter only those of
 * letters, `.*`, `\.` and alternatives are understood, since any other could take for ever on a name; the rest say nothing here, nor do
 * patterns after the first thousand.
 */
export class PlainModules {
  readonly #names: ReadonlySet<string>;
  /** Each split at its `*`. */
  readonly #patterns: readonly (readonly string[])[];

  constructor(entries: readonly string[]) {
    const names = entries.filter((entry) => !entry.startsWith('re:') && !entry.includes('*'));
    const globs = entries.filter((entry) => !entry.startsWith('re:') && entry.includes('*'));
    const sources = entries.filter((entry) => entry.startsWith('re:')).slice(0, MAX_PATTERNS);
    const regexps = sources.flatMap((entry) => asGlobs(entry.slice(3)));
    this.#names = new Set(names);
    this.#patterns = [...globs, ...regexps].slice(0, MAX_PATTERNS).map((glob) => glob.split('*'));
  }

  /** Whether a module is listed, by its name or as part of a listed one. */
  has(module: string): boolean {
    for (let end = module.length; end > 0; end = module.lastIndexOf('.', end - 1)) {
      if (this.#names.has(module.slice(0, end))) return true;
    }
    return this.#patterns.some((pattern) => matchesGlob(module, pattern));
  }
}

const MAX_ALTERNATIVES = 64;
/** Every module is compared with each. */
const MAX_PATTERNS = 1024;

/** The globs that a simple regular expression, which has to match from the beginning of a name, is equal to. */
function asGlobs(source: string): string[] {
  let sources = [source];
  for (;;) {
    const resolved = sources.flatMap(withoutFirstGroup);
    if (resolved.length > MAX_ALTERNATIVES) return [];
    if (resolved.every((one, i) => one === sources[i])) return sources.flatMap(asGlob);
    sources = resolved;
  }
}

/** A pattern for each alternative of the first group without a group in it. */
function withoutFirstGroup(source: string): string[] {
  const [group, alternatives] = /\(([\w|]+)\)/.exec(source) ?? [];
  return group === undefined ? [source] : alternatives!.split('|').map((one) => source.replace(group, one));
}

/** The glob that a pattern without groups is equal to; none if it is not that simple. */
function asGlob(source: string): string[] {
  const anchored = source.replace(/^\^/, '').replace(/\$$/, '');
  const isSimple = /^(\w|\.\*|\\\.|-)*$/.test(anchored);
  if (!isSimple) return [];
  const glob = anchored.replaceAll(/\.\*|\\\./g, (part) => (part === '.*' ? '*' : '.'));
  return [source.endsWith('$') ? glob : `${glob}*`];
}

/** Whether a text has these parts in this order, with anything between them, and nothing before the first or after the last. */
function matchesGlob(text: string, parts: readonly string[]): boolean {
  const last = parts.length - 1;
  if (!text.startsWith(parts[0]!)) return false;
  if (last === 0) return text === parts[0];
  let at = parts[0]!.length;
  for (let i = 1; i < last; i++) {
    const found = text.indexOf(parts[i]!, at);
    if (found < 0) return false;
    at = found + parts[i]!.length;
  }
  return text.length - parts[last]!.length >= at && text.endsWith(parts[last]!);
}
