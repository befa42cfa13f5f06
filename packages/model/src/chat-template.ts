import { messageOf, ModelError } from './errors.ts';
import { TooManyStepsError } from './jinja/budget.ts';
import { parseJsonValue } from './jinja/json.ts';
import { PythonTemplate } from './jinja/template.ts';
import type { Value } from './jinja/value.ts';
import { probeTemplate, type TemplateTraits } from './template-traits.ts';

/** A call that an assistant's message made. `arguments` is JSON text, as OpenAI's API has it. */
export interface ChatToolCall {
  id?: string;
  type: 'function';
  function: { name: string; arguments: string };
}

/** A message in the names of OpenAI's chat API, which templates use. */
export interface ChatMessage {
  role: string;
  content: string | null;
  name?: string;
  /** Of an assistant's message. */
  tool_calls?: readonly ChatToolCall[];
  /** Of a tool's message: the call that it answers. */
  tool_call_id?: string;
  /** Of an assistant's message. */
  reasoning_content?: string;
}

/** A tool as OpenAI's chat API writes it; templates print it as it is. */
export interface ChatTool {
  type: 'function';
  function: { name: string; [key: string]: unknown };
  /** The JSON text of `function.parameters`, where that has what JavaScript's values lose: `parseJsonValue` says what. */
  parametersJson?: string | undefined;
}

/** What is rendered beside the messages. */
export interface ChatOptions {
  tools?: readonly ChatTool[] | undefined;
  /** A client's own template variables (`chat_template_kwargs`); see `variablesFault`. */
  variables?: Readonly<Record<string, unknown>> | undefined;
  /** Whether the text asks for an answer; true by default. */
  addGenerationPrompt?: boolean | undefined;
  /** The text ends with the last message's content, for the model to go on with. Overrides `addGenerationPrompt`. */
  continueFinalMessage?: boolean | undefined;
  /** Gives up with a TooManyStepsError after so many steps of about 0.1 µs. */
  maxSteps?: number | undefined;
}

/** Values that Shoal gives to a template, which a client may not give instead. */
const RESERVED = new Set([
  'messages',
  'tools',
  'documents',
  'add_generation_prompt',
  'continue_final_message',
  'bos_token',
  'eos_token',
]);

/** Why a client's template variables cannot be taken; undefined if they can. */
export function variablesFault(variables: Readonly<Record<string, unknown>>): string | undefined {
  const reserved = Object.keys(variables).find((name) => RESERVED.has(name));
  if (reserved !== undefined) return `${JSON.stringify(reserved)} is set by the server`;
  const wrong = Object.keys(variables).find((name) => !/^[a-z]\w{0,63}$/i.test(name));
  return wrong === undefined ? undefined : `${JSON.stringify(wrong.slice(0, 64))} is not a variable's name`;
}

/** A model's own template, which turns messages into one text. */
export class ChatTemplate {
  /** The template's text; with `toolSource` both, for whoever looks for a model's markers. */
  readonly source: string;
  readonly #template: PythonTemplate;
  readonly #toolTemplate: PythonTemplate;
  readonly #variables: Record<string, unknown>;
  #traits: TemplateTraits | undefined;

  /**
   * `variables` are the special tokens, which templates have by name; `toolSource` is the template for conversations with
   * tools, where the model has one of its own. Throws a ModelError `bad-template` if a source doesn't parse.
   */
  constructor(source: string, variables: Readonly<Record<string, string>> = {}, toolSource?: string) {
    this.source = toolSource === undefined ? source : `${source}\n${toolSource}`;
    this.#variables = variables;
    this.#template = parse(source);
    this.#toolTemplate = toolSource === undefined ? this.#template : parse(toolSource);
  }

  /** What the template can do, found out by rendering small conversations at the first use. */
  get traits(): TemplateTraits {
    return (this.#traits ??= probeTemplate((values) => this.#toolTemplate.render({ ...this.#variables, ...values })));
  }

  /**
   * The text to continue. Throws a ModelError `bad-template` with the template's message if it rejects the roles or their order,
   * or takes more steps than any published template would.
   */
  renderChat(messages: readonly ChatMessage[], options: ChatOptions = {}): string {
    const tools = options.tools?.length ? options.tools.map(toolForTemplate) : null;
    const values = {
      ...options.variables,
      ...this.#variables,
      // As the reference: templates ask both whether these are defined and whether they are none.
      tools,
      documents: null,
      messages: this.#forTemplate(options.continueFinalMessage ? marked(messages) : messages),
      add_generation_prompt: !options.continueFinalMessage && (options.addGenerationPrompt ?? true),
    };
    const hasCalls = messages.some((message) => message.tool_calls?.length || message.role === 'tool');
    let text: string;
    try {
      text = (tools || hasCalls ? this.#toolTemplate : this.#template).render(values, options.maxSteps);
    } catch (cause) {
      if (cause instanceof TooManyStepsError && options.maxSteps !== undefined) throw cause;
      throw refused(messageOf(cause), cause);
    }
    return options.continueFinalMessage ? cutAtMark(text) : text;
  }

  #forTemplate(messages: readonly ChatMessage[]): unknown[] {
    return messages.map(({ content, tool_calls: calls, reasoning_content: reasoning, ...message }, index) => ({
      ...message,
      // As other servers do; most templates fail at null.
      content: content ?? '',
      ...(reasoning ? reasoningNames(reasoning, content) : {}),
      ...(calls?.length ? { tool_calls: calls.map((call, at) => this.#call(call, `${index}].tool_calls[${at}`)) } : {}),
    }));
  }

  /** A call with its arguments as the template wants them. */
  #call(call: ChatToolCall, path: string): unknown {
    const { name, arguments: text } = call.function;
    const given = this.traits.argumentsAs === 'string' ? text || '{}' : parseArguments(text);
    if (given === undefined && !this.traits.takesBoth) {
      throw refused(`messages[${path}].function.arguments is not the JSON text of an object`);
    }
    return { ...call, function: { ...call.function, name, arguments: given ?? text } };
  }
}

/** As the reference has it. */
function toolForTemplate({ parametersJson, ...tool }: ChatTool): unknown {
  if (parametersJson === undefined) return tool;
  return { ...tool, function: { ...tool.function, parameters: parseJsonValue(parametersJson) } };
}

/** Reasoning under every name that templates have for it; gpt-oss refuses its own beside a content. */
function reasoningNames(reasoning: string, content: string | null): Record<string, string> {
  return { reasoning_content: reasoning, reasoning, ...(content ? {} : { thinking: reasoning }) };
}

/** An object; undefined if the text is not JSON, or another value. */
function parseArguments(text: string): Value | undefined {
  if (text.trim() === '') return new Map();
  try {
    const value = parseJsonValue(text);
    return value instanceof Map ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Marks the end of the content that is to be continued; the space tells whether a template drops it. */
const CONTINUED = 'SHOAL-CONTINUES-HERE ';

/** The messages with a mark at the end of the last one, as the reference finds it; the content may be found elsewhere too. */
function marked(messages: readonly ChatMessage[]): ChatMessage[] {
  const last = messages.at(-1);
  if (!last?.content?.trim()) throw notContinued();
  return [...messages.slice(0, -1), { ...last, content: last.content + CONTINUED }];
}

function cutAtMark(text: string): string {
  const at = text.lastIndexOf(CONTINUED.trimEnd());
  if (at < 0) throw notContinued();
  // Templates often drop the white space around a content.
  return text.startsWith(CONTINUED, at) ? text.slice(0, at) : text.slice(0, at).trimEnd();
}

const notContinued = (): ModelError =>
  refused("the last message's content is not in the rendered text, so it cannot be continued");

function parse(source: string): PythonTemplate {
  try {
    return new PythonTemplate(source);
  } catch (cause) {
    const message = `chat_template doesn't parse: ${messageOf(cause)}`;
    throw new ModelError('bad-template', 'chat_template', message, { cause });
  }
}

/** A template may make a complaint as long as a text. */
const MAX_COMPLAINT = 1_000;

function refused(why: string, cause?: unknown): ModelError {
  const message = `the chat template refuses these messages: ${why.slice(0, MAX_COMPLAINT)}`;
  return new ModelError('bad-template', 'chat_template', message, { cause });
}
