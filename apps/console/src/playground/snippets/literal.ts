/** How a language writes what JSON can say. Strings and numbers are the same in all of ours. */
export interface Syntax {
  words: Record<'null' | 'true' | 'false', string>;
  key: (name: string) => string;
  indent: string;
}

/** Values that are shorter than this are written on one line. */
const LINE_CHARS = 88;

export const python: Syntax = {
  words: { null: 'None', true: 'True', false: 'False' },
  key: (name) => JSON.stringify(name),
  indent: '    ',
};

export const typescript: Syntax = {
  words: { null: 'null', true: 'true', false: 'false' },
  key: (name) => {
    // A plain key of this name would set the object's prototype.
    if (name === '__proto__') return '["__proto__"]';
    // Digits stay quoted: 007 is no key, and 1e3 would become another one.
    return /^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name);
  },
  indent: '  ',
};

/** Writes a JSON value in a language; `indent` is that of the line where it begins. */
export function literal(value: unknown, syntax: Syntax, indent = ''): string {
  if (value === null || typeof value === 'boolean') return syntax.words[`${value}`];
  // JSON escapes quotes, backslashes, control characters and half surrogate pairs as both languages do.
  if (typeof value !== 'object') return JSON.stringify(value);
  const inner = indent + syntax.indent;
  const isArray = Array.isArray(value);
  const entries = isArray
    ? value.map((entry) => literal(entry, syntax, inner))
    : Object.entries(value).map(([name, entry]) => `${syntax.key(name)}: ${literal(entry, syntax, inner)}`);
  const [open, close] = isArray ? ['[', ']'] : ['{', '}'];
  const line = `${open}${entries.join(', ')}${close}`;
  if (line.length + indent.length <= LINE_CHARS && !line.includes('\n')) return line;
  return `${open}\n${entries.map((entry) => `${inner}${entry},\n`).join('')}${indent}${close}`;
}
