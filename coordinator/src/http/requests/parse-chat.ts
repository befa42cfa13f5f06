import type { ChatMessage } from '@shoal/model';
import type { OutputParser, Tool } from '../../conventions/index.ts';
import type { GrammarSource } from '../../grammar/index.ts';
import type { TokenConstraint } from '../../scheduler/token-constraint.ts';
import type { TextClient } from '../../text/text-thread.ts';
import { ApiError } from '../errors.ts';
import type { ChatRequest, ChatRequestMessage } from './chat-schema.ts';
import { type AskedTools, isOneCall, templateTool, toolsOf } from './chat-tools.ts';
import { type Asked, askedOf, checkBegun, compile, refusal, refuseEndless } from './constraint.ts';
import { encode, fitContext, parseCommon, underAdapter } from './parse-common.ts';
import type { ParsedRequest, ParseDeps } from './parsed-request.ts';
import { routeByUser } from './route.ts';
import { settledRoles } from './settled-roles.ts';
import { encodeSource, fitSource, refuseBesideSource, sourceText } from './source.ts';
import { templateVariables } from './template-variables.ts';

/** Rejects with an ApiError that names the parameter, or with the reason of the client's signal. */
export async function parseChat(body: ChatRequest, all: ParseDeps, client: TextClient): Promise<ParsedRequest> {
  const deps = underAdapter(body.model, all);
  const common = parseCommon(body, body.logprobs === true ? (body.top_logprobs ?? 0) : undefined, deps);
  if (body.top_logprobs && body.logprobs !== true) {
    throw ApiError.invalid('top_logprobs', "Invalid 'top_logprobs': it requires logprobs: true.");
  }
  if (common.n > deps.limits.choicesPerRequest) {
    const message = `Invalid 'n': at most ${deps.limits.choicesPerRequest} answers are made for one request.`;
    throw ApiError.invalid('n', message);
  }
  const { convention } = deps;
  const { tools, wanted, ids, tail, begun, answerPrefix } = await chatPrompt(body, deps, client);
  const prompt = answerPrefix
    ? fitSource({ ids, answerPrefix }, answerTokens(body), 'messages', deps)
    : fitContext(ids, answerTokens(body), Number.POSITIVE_INFINITY, 'messages', deps);
  const openConstraint =
    wanted && (await constraintAfter({ tail, begun }, withReasoning(body, wanted, tail, convention), deps, client));
  const maxCalls = isOneCall(body) ? 1 : undefined;
  const { showsSpecialTokens } = common.text;
  const parserOptions = { tools: tools.offered, tail, maxCalls, showsSpecialTokens };
  const newParser = (): OutputParser => convention.newParser(parserOptions);
  const showsReasoning = body.include_reasoning ?? true;
  const route = await routeByUser(body, deps, client);
  const adapter = route ? route.adapter : common.generation.adapter;
  const generation = { ...common.generation, adapter, stopTokenIds: stopTokens(common.generation.stopTokenIds, deps) };
  const answer = { openConstraint, newParser, requiresCall: tools.required !== undefined, showsReasoning };
  return { ...common, ...answer, route, generation, prompts: [prompt], echo: false };
}

/** With the tokens that end a turn by the model's convention. */
function stopTokens(asked: readonly number[] = [], { convention, codec }: ParseDeps): readonly number[] | undefined {
  const all = [...asked, ...convention.stopTokens.flatMap((text) => codec.idOf(text) ?? [])];
  return all.length > 0 ? all : undefined;
}

/**
 * The prompt of a conversation, from which an answer begins, and what was read on the way. Rejects with an ApiError that names the
 * parameter, or with the reason of the client's signal.
 */
export async function chatPrompt(body: ChatRequest, deps: ParseDeps, client: TextClient) {
  const tools = toolsOf(body);
  const wanted = wantedOf(body, tools, deps);
  if (deps.source) {
    refuseBesideSource(body);
    const text = sourceText(body.messages);
    return { tools, wanted, ...(await encodeSource(text, 'messages', body, deps, client)), tail: '', begun: '' };
  }
  const task = conversation(body, tools, deps);
  const { list: ids, tail = '' } = await encode(task, 'messages', body, deps, client);
  // Calls that are required follow the beginning of an answer; a format holds for it too.
  const begun = task.continueFinalMessage && !tools.required ? begunText(task.messages.at(-1), tail) : '';
  return { tools, wanted, ids, tail, begun, answerPrefix: undefined };
}

/** What is rendered. */
function conversation(body: ChatRequest, tools: AskedTools, deps: ParseDeps) {
  const { convention, templateTraits } = deps;
  const { messages, isContinued, isBlank } = begunConversation(body);
  const settled = templateTraits ? settledRoles(messages, templateTraits) : messages;
  const sent = { messages: settled, tools: tools.offered.map(templateTool) };
  const prepared =
    convention.prepare && templateTraits ? convention.prepare(sent.messages, sent.tools, templateTraits) : sent;
  return {
    ...prepared,
    variables: templateVariables(body),
    addGenerationPrompt: isBlank || (body.add_generation_prompt ?? true),
    continueFinalMessage: isContinued,
  };
}

/** A conversation, and whether the answer goes on with its last message: one without text begins nothing, and is left out. */
function begunConversation(body: ChatRequest): { messages: ChatMessage[]; isContinued: boolean; isBlank: boolean } {
  const messages = chatMessages(body);
  const last = messages.at(-1)!;
  const asked = body.continue_final_message ?? false;
  const isBlank = asked && last.role === 'assistant' && !last.content?.trim() && !last.tool_calls;
  if (!isBlank) return { messages, isContinued: asked, isBlank };
  if (messages.length === 1) throw ApiError.invalid('messages', "Invalid 'messages': there is nothing to answer.");
  return { messages: messages.slice(0, -1), isContinued: false, isBlank };
}

/** The part of a continued message that the prompt ends with: many templates drop the white space around it. */
function begunText(last: ChatMessage | undefined, tail: string): string {
  const text = last?.content?.trimStart() ?? '';
  return /\s$/.test(tail) ? text : text.trimEnd();
}

function answerTokens(body: ChatRequest): number | null | undefined {
  const { max_tokens: older, max_completion_tokens: newer } = body;
  if (older != null && newer != null && older !== newer) {
    throw ApiError.invalid('max_tokens', "'max_tokens' and 'max_completion_tokens' differ. Send one of them.");
  }
  return newer ?? older ?? body.n_predict;
}

/** Calls of one answer that a grammar allows; the answer is complete after each. */
const MAX_FORCED_CALLS = 8;

/** What the answer must fit: a call where one is required, the asked format otherwise, or either where both may come. */
function wantedOf(body: ChatRequest, { offered, required }: AskedTools, { convention }: ParseDeps): Asked | undefined {
  const asked = askedOf(body);
  if (required || asked) refuseEndless(body);
  const most = isOneCall(body) ? 1 : MAX_FORCED_CALLS;
  if (required) return { param: 'tools', source: forcedCalls(required, most, convention) };
  if (!asked) return undefined;
  const source = headed(body, asked.source, convention);
  if (offered.length === 0) return { param: asked.param, source };
  return { param: asked.param, source: { kind: 'either', sources: [source, forcedCalls(offered, most, convention)] } };
}

/** A text with what it begins with by the convention, unless the prompt's last message has begun it. */
function headed(body: ChatRequest, source: GrammarSource, { answerPrefix }: ParseDeps['convention']): GrammarSource {
  if (answerPrefix === '' || body.continue_final_message) return source;
  return { kind: 'after', parts: [answerPrefix], source };
}

/** With the reasoning before it, which the model may leave out, unless the request switches that off. */
function withReasoning(body: ChatRequest, wanted: Asked, tail: string, convention: ParseDeps['convention']): Asked {
  const { enable_thinking: enabled, thinking } = templateVariables(body);
  const parts = convention.optionalReasoning(tail);
  if (parts.length === 0 || enabled === false || thinking === false || body.continue_final_message) return wanted;
  return { ...wanted, source: { kind: 'after', parts, source: wanted.source } };
}

function forcedCalls(tools: readonly Tool[], most: number, convention: ParseDeps['convention']): GrammarSource {
  try {
    return convention.forcedCalls(tools, { most });
  } catch (thrown) {
    throw refusal(thrown, 'tools');
  }
}

/**
 * The constraint of an answer to a prompt that ends with `tail`: after its reasoning, if the model begins with that, or else from
 * `begun` on, which the prompt has of the answer.
 */
async function constraintAfter(
  { tail, begun }: { tail: string; begun: string },
  wanted: Asked,
  deps: ParseDeps,
  client: TextClient,
): Promise<() => TokenConstraint> {
  const { convention } = deps;
  const grammar = await compile(wanted, deps, client);
  const after = convention.startsInReasoning(tail) ? convention.reasoningEnd : undefined;
  if (after !== undefined) return () => grammar.open({ after });
  if (begun === '') return () => grammar.open();
  await checkBegun(grammar, begun, 'messages');
  return () => grammar.open({ begun });
}

function chatMessages(body: ChatRequest): ChatMessage[] {
  return body.messages.map((message) => {
    const { role, name, tool_calls: calls, tool_call_id: callId } = message;
    const reasoning = message.reasoning ?? message.reasoning_content;
    return {
      role: role === 'developer' ? 'system' : role === 'function' ? 'tool' : role,
      content: contentOf(message),
      ...(name != null && { name }),
      ...(callId != null && { tool_call_id: callId }),
      ...(reasoning != null && { reasoning_content: reasoning }),
      ...(calls != null && calls.length > 0 && { tool_calls: calls.map(toolCall) }),
    };
  });
}

/** Null where an assistant's message has calls only: some templates tell calls by it. */
function contentOf({ role, content, refusal, tool_calls: calls }: ChatRequestMessage): string | null {
  const text =
    typeof content === 'string'
      ? content
      : (content ?? []).map((part) => part.text ?? part.refusal ?? '').join('') || (refusal ?? '');
  return text === '' && role === 'assistant' && calls != null && calls.length > 0 ? null : text;
}

function toolCall({ id, function: { name, arguments: given } }: NonNullable<ChatRequestMessage['tool_calls']>[number]) {
  const text = typeof given === 'string' ? given : JSON.stringify(given ?? {});
  return { ...(id != null && { id }), type: 'function' as const, function: { name, arguments: text || '{}' } };
}
