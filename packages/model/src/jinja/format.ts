import { repeatText, spendText } from './budget.ts';
import { repr, str } from './text.ts';
import { Args, expectText, Float, isNumber, numeric, typeName, type Value } from './value.ts';

/** Python's `str.format`. `lookUp` reads an attribute or an item. */
export function formatText(format: string, args: Args, lookUp: (object: Value, name: string) => Value): string {
  let next = 0;
  return format.replace(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g, (part: string, field?: string) => {
    if (part === '{{' || part === '}}') return part[0]!;
    const parsed =
      field === undefined ? null : /^([^!:.[]*)((?:\.\w+|\[[^\]]*\])*)(?:!([rs]))?(?::(.*))?$/su.exec(field);
    if (!parsed) throw new Error(`the format ${repr(format)} cannot be read at ${repr(part)}`);
    const [, name = '', path = '', conversion, spec = ''] = parsed;
    const isPlace = name === '' || /^\d+$/.test(name);
    let value = isPlace ? args.positional[name === '' ? next++ : Number(name)] : args.named.get(name);
    if (value === undefined) throw new Error(`the format ${repr(format)} has no value for ${repr(part)}`);
    for (const [, attribute, item] of path.matchAll(/\.(\w+)|\[([^\]]*)\]/g)) value = lookUp(value, attribute ?? item!);
    if (conversion !== undefined) value = conversion === 'r' ? repr(value) : str(value);
    return formatValue(value, spec);
  });
}

/** Python's `format % values`. */
export function printf(format: string, values: Value): string {
  spendText(format.length);
  const given = Array.isArray(values) ? values : [values];
  let next = 0;
  const text = format.replace(
    /%(?:\((\w+)\))?([-+ 0]*)(\d+)?(?:\.(\d+))?([sridfFxXeg%])|%/g,
    (part: string, name?: string, flags = '', width = '', precision?: string, type?: string) => {
      if (type === undefined) throw new Error(`the format ${repr(format)} cannot be read`);
      if (type === '%') return '%';
      const value = name !== undefined && values instanceof Map ? values.get(name) : given[next++];
      if (value === undefined) throw new TypeError('not enough arguments for format string');
      const point = precision === undefined ? '' : `.${precision}`;
      if (type === 's' || type === 'r') {
        return formatValue(
          type === 's' ? str(value) : repr(value),
          `${flags.includes('-') ? '<' : '>'}${width}${point}`,
        );
      }
      if (!isNumber(value)) throw new TypeError(`%${type} format: a real number is required, not ${typeName(value)}`);
      const sign = flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '';
      const fill = flags.includes('-') ? '<' : flags.includes('0') ? '0=' : '>';
      const isInt = 'idxX'.includes(type);
      const number = isInt && value instanceof Float ? Math.trunc(value.value) : value;
      return formatValue(number, `${fill}${sign}${width}${isInt ? '' : point}${type === 'i' ? 'd' : type}`);
    },
  );
  if (!(values instanceof Map) && next < given.length) {
    throw new TypeError('not all arguments converted during string formatting');
  }
  return text;
}

/** Python's `format(value, spec)`. */
function formatValue(value: Value, spec: string): string {
  const text = specified(value, spec);
  spendText(text.length);
  return text;
}

function specified(value: Value, spec: string): string {
  if (spec === '') return str(value);
  const parsed = /^(?:(.)?([<>=^]))?([-+ ])?(0)?(\d+)?([,_])?(?:\.(\d+))?([sdfFeEgGxXob%])?$/su.exec(spec);
  if (!parsed || !(typeof value === 'string' || isNumber(value))) {
    throw new Error(`the format specification ${repr(spec)} cannot be used for a ${typeName(value)}`);
  }
  const [, fill, align, sign = '', zero, width = '0', group, precision, type] = parsed;
  if (typeof value === 'string') {
    const text = precision === undefined ? value : Array.from(value).slice(0, Number(precision)).join('');
    return aligned('', text, fill ?? ' ', align ?? '<', Number(width));
  }
  const digits = numberText(value, type, precision === undefined ? undefined : Number(precision));
  const isNegative = digits.startsWith('-');
  const [whole, ...rest] = digits.replace('-', '').split('.') as [string, ...string[]];
  const grouped = group === undefined ? whole : whole.replace(/\B(?=(\d{3})+$)/g, group);
  const shown = [grouped, ...rest].join('.');
  const prefix = isNegative ? '-' : sign === '-' ? '' : sign;
  return aligned(prefix, shown, fill ?? (zero ? '0' : ' '), align ?? (zero ? '=' : '>'), Number(width));
}

function numberText(value: number | bigint | boolean | Float, type: string | undefined, precision?: number): string {
  const number = numeric(value);
  switch (type) {
    case 'x':
      return number.toString(16);
    case 'X':
      return number.toString(16).toUpperCase();
    case 'o':
      return number.toString(8);
    case 'b':
      return number.toString(2);
    case 'd':
      if (value instanceof Float) throw new Error("unknown format code 'd' for a float");
      return number.toString();
    case '%':
      return `${(Number(number) * 100).toFixed(precision ?? 6)}%`;
    case 'f':
    case 'F':
      return Number(number).toFixed(precision ?? 6);
    case undefined:
      if (precision === undefined) return typeof value === 'boolean' ? number.toString() : str(value);
      break;
  }
  throw new Error(`the format type ${repr(type ?? '')} of a number is not supported`);
}

function aligned(prefix: string, text: string, fill: string, align: string, width: number): string {
  const missing = Math.max(0, width - Array.from(prefix + text).length);
  if (align === '=') return prefix + repeatText(fill, missing) + text;
  const before = align === '<' ? 0 : align === '>' ? missing : Math.floor(missing / 2);
  return repeatText(fill, before) + prefix + expectText(text) + repeatText(fill, missing - before);
}
