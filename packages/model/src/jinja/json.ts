import { type Dict, Float, int, type Value } from './value.ts';

/** White space isn't part of it: a long run of it with no token after would be gone through again from each of its places. */
const TOKEN = /[{}[\],:]|"[^"\\]*(?:\\.[^"\\]*)*"|[-+.\w]+/gs;

/**
 * JSON as Python reads it: 1.0 stays a float, large ints keep their digits, and keys like "10" their order. Throws a SyntaxError
 * for what isn't JSON, and a RangeError for what goes too deep.
 */
export function parseJsonValue(text: string): Value {
  // What it accepts needs no checks below.
  JSON.parse(text);
  const tokens = text.match(TOKEN)!;
  let at = 0;
  const read = (): Value => {
    const token = tokens[at++]!;
    if (token === '[') return readList();
    if (token === '{') return readDict();
    if (token.startsWith('"')) return JSON.parse(token) as string;
    return readScalar(token);
  };
  const readList = (): Value => {
    const list: Value[] = [];
    while (tokens[at] !== ']') {
      list.push(read());
      if (tokens[at] === ',') at++;
    }
    at++;
    return list;
  };
  const readDict = (): Value => {
    const dict: Dict = new Map();
    while (tokens[at] !== '}') {
      const key = JSON.parse(tokens[at]!) as string;
      at += 2;
      dict.set(key, read());
      if (tokens[at] === ',') at++;
    }
    at++;
    return dict;
  };
  return read();
}

function readScalar(token: string): Value {
  if (token === 'null') return null;
  if (token === 'true' || token === 'false') return token === 'true';
  return /^-?\d+$/.test(token) ? int(BigInt(token)) : new Float(Number(token));
}
