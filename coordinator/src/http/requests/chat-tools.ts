import type { ChatTool } from '@shoal/model';
import type { Tool } from '../../conventions/index.ts';
import { ApiError } from '../errors.ts';
import { exactTextOf } from '../exact-json.ts';
import type { ChatRequest } from './chat-schema.ts';
import { supportedTools } from './supported-tools.ts';

type Body = Pick<ChatRequest, 'tools' | 'tool_choice'>;
type Choice = ChatRequest['tool_choice'];

/** The tools that the model is told of, and those of which it must call one. */
export interface AskedTools {
  offered: Tool[];
  required: Tool[] | undefined;
}

const isFunction = ({ type }: { type: string }): boolean => type === 'function';

/** The tools of a request that have no effect. Throws an ApiError if it has no others. */
export function ignoredTools({ tools }: Body): string[] {
  return supportedTools(tools ?? [], isFunction).ignored;
}

/** Throws an ApiError for a choice among the tools that cannot be made. */
export function toolsOf({ tools: sent, tool_choice: choice }: Body): AskedTools {
  const tools = functionsOf(sent ?? []);
  if (choice === 'none') return { offered: [], required: undefined };
  if (choice == null || choice === 'auto') return { offered: tools, required: undefined };
  if (typeof choice === 'object' && choice.type === 'allowed_tools') return allowedTools(tools, choice.allowed_tools);
  if (tools.length === 0) throw nothingToCall();
  if (choice === 'required') return { offered: tools, required: tools };
  const named = tools.filter(({ name }) => name === choice.function.name);
  if (named.length > 0) return { offered: tools, required: named };
  throw ApiError.invalid('tool_choice', "Invalid 'tool_choice': it names a function that is not among the tools.");
}

/** Whoever names a function takes the first call for the answer, as elsewhere: structured output by a tool. */
export function isOneCall({ parallel_tool_calls: parallel, tool_choice: choice }: ChatRequest): boolean {
  return parallel === false || (choice != null && typeof choice === 'object' && choice.type === 'function');
}

/** A tool as templates have it. */
export function templateTool(tool: Tool): ChatTool {
  const { name, description, parameters = { type: 'object', properties: {} } } = tool;
  const parametersJson = exactTextOf(parameters);
  return {
    type: 'function',
    function: { name, ...(description !== undefined && { description }), parameters },
    ...(parametersJson !== undefined && { parametersJson }),
  };
}

function functionsOf(sent: NonNullable<Body['tools']>): Tool[] {
  for (const [index, tool] of sent.entries()) refuseOtherArguments(tool.function?.parameters, index);
  const functions = supportedTools(sent, isFunction).supported.flatMap((tool) => tool.function ?? []);
  const tools = functions.map(({ name, description, parameters, strict }) => ({
    name,
    ...(description != null && { description }),
    ...(parameters != null && { parameters }),
    ...(strict != null && { strict }),
  }));
  if (new Set(tools.map(({ name }) => name)).size < tools.length) {
    throw ApiError.invalid('tools', "Invalid 'tools': two of them have the same name.");
  }
  return tools;
}

/** Throws an ApiError for arguments that are no object. */
function refuseOtherArguments(parameters: Record<string, unknown> | null | undefined, index: number): void {
  const type: unknown = parameters?.['type'];
  if (type == null || type === 'object' || (Array.isArray(type) && type.includes('object'))) return;
  const param = `tools[${index}].function.parameters`;
  throw ApiError.invalid(param, `Invalid '${param}': arguments are an object, so its type must be object.`);
}

/** The model is told only of the tools that are allowed. */
function allowedTools(
  tools: readonly Tool[],
  { mode, tools: named }: Extract<Choice, { type: 'allowed_tools' }>['allowed_tools'],
): AskedTools {
  const names = new Set(named.map((one) => one.function.name));
  const offered = tools.filter(({ name }) => names.has(name));
  if (mode === 'required' && offered.length === 0) throw nothingToCall();
  return { offered, required: mode === 'required' ? offered : undefined };
}

function nothingToCall(): ApiError {
  return ApiError.invalid('tool_choice', "Invalid 'tool_choice': there are no tools to call. Send some in tools.");
}
