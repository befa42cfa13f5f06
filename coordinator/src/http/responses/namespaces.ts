import { ApiError } from '../errors.ts';
import type { InputTokensRequest } from './schema.ts';

type Tool = NonNullable<InputTokensRequest['tools']>[number];

/** A function as a model is told of it. */
export type FlatFunction = Pick<Tool, 'description' | 'parameters' | 'strict'> & { name: string };

/** A function's own name and its namespace, by the name that the model knows it by. */
export type Namespaces = ReadonlyMap<string, { namespace: string; name: string }>;

/** The name that a model knows a function of a namespace by; models know no namespaces. */
export function flatName(name: string, namespace: string | null | undefined): string {
  return namespace == null ? name : `${namespace}__${name}`;
}

/** Functions, and namespaces of functions, as agents send the tools of each of their servers. */
export function isSupported({ type, tools }: Tool): boolean {
  return type === 'function' || (type === 'namespace' && (tools ?? []).some(isFunction));
}

function isFunction({ type }: { type?: string | null | undefined }): boolean {
  return type === 'function';
}

/** Throws an ApiError that names what has no name. */
export function flatFunctions(tools: readonly Tool[]): { functions: FlatFunction[]; namespaces: Namespaces } {
  const namespaces = new Map<string, { namespace: string; name: string }>();
  const functions = tools.flatMap((tool, index): FlatFunction[] => {
    const toolName = nameOf(tool, `tools[${index}]`);
    if (tool.type === 'function') return [{ ...tool, name: toolName }];
    return (tool.tools ?? []).filter(isFunction).map((one, place) => {
      const name = nameOf(one, `tools[${index}].tools[${place}]`);
      const flat = flatName(name, toolName);
      namespaces.set(flat, { namespace: toolName, name });
      return { ...one, name: flat };
    });
  });
  return { functions, namespaces };
}

function nameOf({ name }: { name?: string | null | undefined }, path: string): string {
  if (name != null) return name;
  throw ApiError.missing(`${path}.name`);
}
