/** Reads the coordinator's OpenAPI document, as far as the page shows it. */

/** What an endpoint asks for: nothing, a key where the coordinator requires keys, or an admin's token (always, or where there are admins). */
export type Lock = 'open' | 'key' | 'admin' | 'maybe-admin';

export interface Schema {
  $ref?: string;
  type?: string | readonly string[];
  enum?: readonly unknown[];
  const?: unknown;
  anyOf?: readonly Schema[];
  oneOf?: readonly Schema[];
  allOf?: readonly Schema[];
  items?: Schema;
  properties?: Readonly<Record<string, Schema>>;
  additionalProperties?: boolean | Schema;
  required?: readonly string[];
  description?: string;
  default?: unknown;
  format?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  maxLength?: number;
  maxItems?: number;
}

export interface Parameter {
  name: string;
  in: 'path' | 'query';
  required: boolean;
  description: string;
  schema: Schema;
  example: string;
}

export interface Answer {
  status: string;
  description: string;
  types: string[];
  schema: Schema | undefined;
}

export interface Operation {
  /** The anchor in the page's address, e.g. `post-v1-completions`. */
  id: string;
  method: string;
  path: string;
  summary: string;
  description: string;
  tag: string;
  lock: Lock;
  parameters: Parameter[];
  /** Null of one without a body. */
  body: { schema: Schema; examples: { name: string; value: unknown }[] } | null;
  answers: Answer[];
}

export interface ApiDocument {
  title: string;
  description: string;
  operations: Operation[];
  schemas: Readonly<Record<string, Schema>>;
}

interface Media {
  schema?: Schema;
  example?: unknown;
  examples?: Record<string, { value: unknown }>;
}

interface RawParameter {
  name: string;
  in: string;
  required?: boolean;
  description?: string;
  schema?: Schema;
  example?: unknown;
}

interface RawOperation {
  summary?: string;
  description?: string;
  tags?: string[];
  security?: Record<string, unknown>[];
  parameters?: RawParameter[];
  requestBody?: { content?: Record<string, Media> };
  responses?: Record<string, { description?: string; content?: Record<string, Media> }>;
}

export interface RawDocument {
  info?: { title?: string; description?: string };
  security?: Record<string, unknown>[];
  paths?: Record<string, Record<string, unknown>>;
  components?: { schemas?: Record<string, Schema> };
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

export function readDocument(raw: RawDocument): ApiDocument {
  const operations = Object.entries(raw.paths ?? {}).flatMap(([path, item]) => {
    const shared = (item['parameters'] ?? []) as RawParameter[];
    return METHODS.filter((method) => item[method] !== undefined).map((method) =>
      readOperation(method, path, item[method] as RawOperation, shared, raw.security ?? []),
    );
  });
  return {
    title: raw.info?.title ?? 'API',
    description: raw.info?.description ?? '',
    operations,
    schemas: raw.components?.schemas ?? {},
  };
}

function readOperation(
  method: string,
  path: string,
  raw: RawOperation,
  shared: readonly RawParameter[],
  security: readonly Record<string, unknown>[],
): Operation {
  const content = raw.requestBody?.content?.['application/json'];
  return {
    id: `${method}${path.replaceAll(/[^a-z0-9]+/gi, '-')}`.replace(/-$/, ''),
    method: method.toUpperCase(),
    path,
    summary: raw.summary ?? '',
    description: raw.description ?? '',
    tag: raw.tags?.[0] ?? 'Other',
    lock: lockOf(raw.security ?? security),
    parameters: [...shared, ...(raw.parameters ?? [])].map(readParameter),
    body: content ? { schema: content.schema ?? {}, examples: examplesOf(content) } : null,
    answers: Object.entries(raw.responses ?? {}).map(([status, response]) => ({
      status,
      description: response.description ?? '',
      types: Object.keys(response.content ?? {}),
      schema: response.content?.['application/json']?.schema,
    })),
  };
}

function lockOf(security: readonly Record<string, unknown>[]): Lock {
  const names = security.flatMap((one) => Object.keys(one));
  const mayDoWithout = security.some((one) => Object.keys(one).length === 0);
  if (names.includes('admin')) return mayDoWithout ? 'maybe-admin' : 'admin';
  return names.includes('apiKey') ? 'key' : 'open';
}

function readParameter(raw: RawParameter): Parameter {
  return {
    name: raw.name,
    in: raw.in === 'path' ? 'path' : 'query',
    required: raw.required ?? raw.in === 'path',
    description: raw.description ?? raw.schema?.description ?? '',
    schema: raw.schema ?? {},
    example: typeof raw.example === 'string' ? raw.example : '',
  };
}

function examplesOf({ examples, example }: Media): { name: string; value: unknown }[] {
  if (examples) return Object.entries(examples).map(([name, { value }]) => ({ name, value }));
  return [{ name: 'plain', value: example ?? {} }];
}

/** Operations under their tags, in the document's order. */
export function byTag(operations: readonly Operation[]): { tag: string; operations: Operation[] }[] {
  const groups = new Map<string, Operation[]>();
  for (const operation of operations) {
    const group = groups.get(operation.tag);
    if (group) group.push(operation);
    else groups.set(operation.tag, [operation]);
  }
  return [...groups].map(([tag, group]) => ({ tag, operations: group }));
}
