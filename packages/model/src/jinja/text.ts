import { joinTexts, spend, spendText } from './budget.ts';
import {
  compare,
  type Dict,
  Float,
  fromKey,
  Generator,
  type Key,
  Markup,
  Namespace,
  Tuple,
  Undefined,
  View,
} from './value.ts';
import { typeName, type Value } from './value.ts';

/** Python's `str`. */
export function str(value: Value): string {
  if (typeof value === 'string') return value;
  if (value instanceof Markup) return value.text;
  return value instanceof Undefined ? '' : repr(value);
}

/** Python's `repr`. */
export function repr(value: Value): string {
  spend(1);
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'string') return quoted(value);
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (value instanceof Float) return floatText(value.value);
  if (Array.isArray(value)) return listText(value);
  if (value instanceof Map) {
    return `{${joinTexts(
      [...value].map(([key, item]) => `${repr(fromKey(key))}: ${repr(item)}`),
      ', ',
    )}}`;
  }
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Namespace) return `<Namespace ${repr(value.attributes as Dict)}>`;
  if (value instanceof Markup) return quoted(value.text);
  return value instanceof Generator ? '<generator object>' : '<function>';
}

function listText(value: Value[]): string {
  const items = joinTexts(value.map(repr), ', ');
  if (value instanceof Tuple) return value.length === 1 ? `(${items},)` : `(${items})`;
  return value instanceof View ? `${value.kind}([${items}])` : `[${items}]`;
}

/** A float's shortest text, with an exponent from 1e16 on and below 1e-4. */
export function floatText(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf';
  if (Object.is(value, -0)) return '-0.0';
  const [mantissa, exponent] = value.toExponential().split('e') as [string, string];
  const power = Number(exponent);
  if (value !== 0 && (power < -4 || power >= 16)) {
    return `${mantissa}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
  }
  const text = String(value);
  return text.includes('.') ? text : `${text}.0`;
}

const NAMED_ESCAPES: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** As Python writes a str in a list: what cannot be printed is escaped. */
function quoted(text: string): string {
  spendText(text.length);
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(/[\\'"]|[\p{C}\p{Z}]/gu, (character) => {
    if (character === ' ') return ' ';
    if (character === "'" || character === '"') return character === quote ? `\\${quote}` : character;
    return NAMED_ESCAPES[character] ?? escapedCode(character.codePointAt(0)!);
  });
  return quote + escaped + quote;
}

function escapedCode(code: number): string {
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}

/** The parameters of `json.dumps` that transformers' `tojson` has. */
export interface JsonStyle {
  ensureAscii?: boolean;
  /** What a level is indented by; undefined for one line. */
  indent?: string | undefined;
  separators?: readonly [item: string, key: string] | undefined;
  sortKeys?: boolean;
}

/** Python's `json.dumps`. */
export function toJson(value: Value, style: JsonStyle = {}, margin = '\n'): string {
  spend(1);
  if (value === null) return 'null';
  if (typeof value === 'boolean' || typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (typeof value === 'string') return jsonText(value, style);
  if (value instanceof Float) return jsonFloat(value.value);
  const inner = margin + (style.indent ?? '');
  if (Array.isArray(value) && !(value instanceof View)) {
    return enclosed(
      '[]',
      [...value].map((item) => toJson(item, style, inner)),
      style,
      margin,
    );
  }
  if (value instanceof Map) {
    const entries = style.sortKeys ? [...value].sort(([a], [b]) => compare(fromKey(a), fromKey(b))) : [...value];
    const [, colon] = style.separators ?? [',', ': '];
    const pair = ([key, item]: [Key, Value]): string =>
      jsonText(keyText(key), style) + colon + toJson(item, style, inner);
    return enclosed('{}', entries.map(pair), style, margin);
  }
  throw new TypeError(`Object of type ${typeName(value)} is not JSON serializable`);
}

function enclosed(brackets: string, items: readonly string[], style: JsonStyle, margin: string): string {
  const isFlat = style.indent === undefined || items.length === 0;
  const comma = style.separators?.[0] ?? (isFlat ? ', ' : ',');
  const inner = isFlat ? '' : margin + style.indent;
  return `${brackets[0]}${inner}${joinTexts(items, comma + inner)}${isFlat ? '' : margin}${brackets[1]}`;
}

const keyText = (key: Key): string => (typeof key === 'string' ? key : toJson(fromKey(key)));

function jsonFloat(value: number): string {
  if (Number.isFinite(value)) return floatText(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity';
}

function jsonText(text: string, { ensureAscii }: JsonStyle): string {
  spendText(text.length);
  const json = JSON.stringify(text);
  if (!ensureAscii) return json;
  return json.replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
