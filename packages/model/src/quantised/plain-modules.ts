/**
 * Modules that a config says are stored plain. Tools write whole names ("lm_head"), names of what contains them
 * ("model.layers.0.self_attn"), names with `*`, and regular expressions ("re:.*mlp\.(gate|up)_proj.*"). Of the latter only those of
 * letters, `.*`, `\.` and alternatives are understood, since any other could take for ever on a name; the rest say nothing here.
 */
export class PlainModules {
  readonly #names: ReadonlySet<string>;
  readonly #patterns: readonly string[];

  constructor(entries: readonly string[]) {
    const names = entries.filter((entry) => !entry.startsWith('re:') && !entry.includes('*'));
    const globs = entries.filter((entry) => !entry.startsWith('re:') && entry.includes('*'));
    const regexps = entries.filter((entry) => entry.startsWith('re:')).flatMap((entry) => asGlobs(entry.slice(3)));
    this.#names = new Set(names);
    this.#patterns = [...globs, ...regexps];
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

/** The globs that a simple regular expression, which has to match from the beginning of a name, is equal to. */
function asGlobs(source: string): string[] {
  const group = /\(([\w|]+)\)/.exec(source);
  if (group) {
    const globs = group[1]!.split('|').flatMap((one) => asGlobs(source.replace(group[0], one)));
    return globs.length <= MAX_ALTERNATIVES ? globs : [];
  }
  const anchored = source.replace(/^\^/, '').replace(/\$$/, '');
  const isSimple = /^(\w|\.\*|\\\.|-)*$/.test(anchored);
  if (!isSimple) return [];
  const glob = anchored.replaceAll(/\.\*|\\\./g, (part) => (part === '.*' ? '*' : '.'));
  return [source.endsWith('$') ? glob : `${glob}*`];
}

/** Whether a text is as a pattern says, in which each `*` stands for anything, in time linear in their product at most. */
function matchesGlob(text: string, pattern: string): boolean {
  const [head, ...parts] = pattern.split('*') as [string, ...string[]];
  if (parts.length === 0) return text === pattern;
  if (!text.startsWith(head)) return false;
  const tail = parts.pop()!;
  let at = head.length;
  for (const part of parts) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - tail.length >= at && text.endsWith(tail);
}
