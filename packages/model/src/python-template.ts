/**
 * Templates are written for Python's Jinja. Where the library's rendering differs from it in ways that published templates
 * show, the parsed template is changed to call the functions below instead.
 */

interface Node {
  type: string;
  [property: string]: unknown;
}

/** Nodes that print their value where they stand between texts. */
const PRINTED = new Set([
  'Identifier',
  'MemberExpression',
  'CallExpression',
  'FilterExpression',
  'BinaryExpression',
  'SelectExpression',
  'TestExpression',
  'UnaryExpression',
  'Ternary',
]);
const BODIES = new Set(['body', 'alternate', 'defaultBlock']);
const STRIPS = new Set(['strip', 'lstrip', 'rstrip']);

/** Variables that `asPython` needs beside a template's own. */
export const PYTHON_FUNCTIONS = {
  __str: (value: unknown, isNone?: boolean) => (isNone ? 'None' : pythonText(value)),
  __strip: (value: unknown, how: string, characters: unknown) => strip(pythonText(value), how, pythonText(characters)),
  __in: (item: unknown, all: unknown) => isIn(item, all),
  __format: (format: unknown, ...values: unknown[]) => {
    let next = 0;
    return pythonText(format).replace(/\{\}/g, () => pythonText(values[next++]));
  },
};

/** Changes a parsed template in place. */
export function asPython(program: object): void {
  visit(program as Node);
}

function visit(node: Node): Node {
  for (const [property, value] of Object.entries(node)) {
    if (Array.isArray(value)) {
      const items = value.map((item: unknown) => (isNode(item) ? visit(item) : item));
      node[property] = BODIES.has(property) ? items.map(printed) : items;
    } else if (value instanceof Map) {
      node[property] = new Map([...value].map(([key, item]) => [key, isNode(item) ? visit(item) : item] as const));
    } else if (isNode(value)) node[property] = visit(value);
  }
  return replaced(node);
}

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';

/** Python prints None and True with their names. */
function printed(item: unknown): unknown {
  return isNode(item) && PRINTED.has(item.type) ? text(item) : item;
}

function replaced(node: Node): Node {
  const { filter, operator, callee, args } = node as Partial<Record<string, Node>>;
  if (node.type === 'FilterExpression' && filter?.type === 'Identifier' && filter['value'] === 'string') {
    return text(node['operand'] as Node);
  }
  if (node.type === 'BinaryExpression' && operator?.['value'] === '~') {
    for (const side of ['left', 'right']) node[side] = text(node[side] as Node);
  }
  if (node.type === 'BinaryExpression' && (operator?.['value'] === 'in' || operator?.['value'] === 'not in')) {
    const found = call('__in', [node['left'] as Node, node['right'] as Node]);
    return operator['value'] === 'in'
      ? found
      : { type: 'UnaryExpression', operator: { type: 'UnaryOperator', value: 'not' }, argument: found };
  }
  if (node.type !== 'CallExpression' || callee?.type !== 'MemberExpression' || callee['computed'] === true) return node;
  const method = (callee['property'] as Node)['value'] as string;
  const given = args as unknown as Node[];
  const object = callee['object'] as Node;
  if (STRIPS.has(method) && given.length === 1) {
    return call('__strip', [object, { type: 'StringLiteral', value: method }, given[0]!]);
  }
  return method === 'format' ? call('__format', [object, ...given]) : node;
}

/** A value's text. The library hands functions the same for none and for what is undefined, so that a test goes along. */
function text(value: Node): Node {
  if (value.type === 'Ternary') {
    return { ...value, trueExpr: text(value['trueExpr'] as Node), falseExpr: text(value['falseExpr'] as Node) };
  }
  const isRead = value.type === 'Identifier' || value.type === 'MemberExpression';
  const isNone = { type: 'TestExpression', operand: value, negate: false, test: { type: 'Identifier', value: 'none' } };
  return call('__str', isRead ? [value, isNone] : [value]);
}

function call(name: string, args: Node[]): Node {
  return { type: 'CallExpression', callee: { type: 'Identifier', value: name }, args };
}

/** Python's `in`. The library refuses a list in a list, which is how templates ask for a schema's type. */
function isIn(item: unknown, all: unknown): boolean {
  if (typeof all === 'string') return typeof item === 'string' && all.includes(item);
  if (all instanceof Map) return all.has(item);
  return Array.isArray(all) && all.some((one: { value: unknown }) => one.value === item);
}

function strip(text: string, how: string, characters: string): string {
  const set = new Set(characters);
  let [start, end] = [0, text.length];
  if (how !== 'rstrip') while (start < end && set.has(text[start]!)) start++;
  if (how !== 'lstrip') while (end > start && set.has(text[end - 1]!)) end--;
  return text.slice(start, end);
}

/** Python's `str` of a value as the library hands it to functions: the values inside lists and objects are wrapped. */
function pythonText(value: unknown): string {
  if (value === undefined) return '';
  return typeof value === 'string' ? value : pythonRepr(value);
}

function pythonRepr(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'string') return quoted(value);
  if (Array.isArray(value)) return `[${value.map(reprInside).join(', ')}]`;
  if (value instanceof Map) {
    return `{${[...value].map(([key, item]) => `${quoted(String(key))}: ${reprInside(item)}`).join(', ')}}`;
  }
  return String(value as number);
}

const reprInside = (wrapped: unknown): string => pythonRepr((wrapped as { value: unknown }).value);

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text
    .replaceAll('\\', '\\\\')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
    .replaceAll('\t', '\\t')
    .replaceAll(quote, `\\${quote}`);
  return quote + escaped + quote;
}
