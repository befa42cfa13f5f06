import type { AnswerEnd } from '../answer.ts';
import type { ApiError } from '../errors.ts';
import { type AnswerPart, PartSplitter } from '../parts.ts';
import type { Usage } from '../response-schema.ts';
import type { AnswerShape, ServerEvent, ShapeContext, StreamShape } from '../shapes/shape.ts';
import type { ResponseObject } from './documents.ts';
import { eventsOf } from './events.ts';
import { ItemWriter } from './items.ts';
import type { Namespaces } from './namespaces.ts';
import type { ResponsesRequest } from './schema.ts';

/** What an answer to a request says beside what was generated. */
export interface ResponseOptions {
  body: ResponsesRequest;
  /** Those that the model was told of. */
  tools: NonNullable<ResponsesRequest['tools']>;
  namespaces: Namespaces;
  /** Keeps a complete answer; false if it is not kept. */
  keep(response: ResponseObject): boolean;
}

/** OpenAI's responses. */
export const responseShape = (options: ResponseOptions): AnswerShape => ({
  idPrefix: 'resp_',
  whole(context, [choice], usage) {
    const { parts, end } = choice!.answer;
    return finished(begun(context, options), parts, end, usage, itemWriter(context, options), options);
  },
  stream: (context) => responseStream(context, options),
});

function itemWriter({ codec, parsed }: ShapeContext, { body, namespaces }: ResponseOptions): ItemWriter {
  const asSummary = summaryOf(body) !== null;
  return new ItemWriter({ codec, withLogprobs: parsed.generation.topLogprobs !== undefined, asSummary, namespaces });
}

function summaryOf({ reasoning }: ResponsesRequest): string | null {
  return reasoning?.summary ?? reasoning?.generate_summary ?? null;
}

/** An answer of which nothing has been generated. */
function begun({ head, parsed }: ShapeContext, { body, tools }: ResponseOptions): ResponseObject {
  const { temperature, topP } = parsed.generation;
  return {
    id: head.id,
    object: 'response',
    created_at: head.created,
    completed_at: null,
    status: 'in_progress',
    error: null,
    incomplete_details: null,
    model: head.model,
    output: [],
    usage: null,
    ...echoedSettings(body),
    temperature: body.temperature ?? temperature,
    tools: tools.map(echoedTool),
    top_p: body.top_p ?? topP,
  };
}

function echoedTool({ type, name, description, parameters, strict, tools }: ResponseOptions['tools'][number]): object {
  if (type === 'namespace') return { type, name, description: description ?? null, tools };
  return { type, name, description: description ?? null, parameters: parameters ?? null, strict: strict ?? false };
}

function echoedSettings(body: ResponsesRequest) {
  return {
    store: body.store ?? true,
    previous_response_id: body.previous_response_id ?? null,
    instructions: body.instructions ?? null,
    metadata: body.metadata ?? {},
    background: false as const,
    max_output_tokens: body.max_output_tokens ?? null,
    max_tool_calls: null,
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    prompt_cache_key: null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: summaryOf(body) },
    safety_identifier: null,
    service_tier: 'default' as const,
    text: { format: body.text?.format ?? { type: 'text' }, verbosity: body.text?.verbosity ?? 'medium' },
    tool_choice: body.tool_choice ?? 'auto',
    top_logprobs: body.top_logprobs ?? 0,
    truncation: body.truncation ?? ('disabled' as const),
    user: null,
  };
}

function finished(
  response: ResponseObject,
  parts: readonly AnswerPart[],
  end: AnswerEnd,
  usage: Usage,
  writer: ItemWriter,
  { keep }: ResponseOptions,
): ResponseObject {
  const isCut = end.reason === 'length';
  const statusOf = (index: number) => (isCut && index === parts.length - 1 ? 'incomplete' : 'completed');
  const whole: ResponseObject = {
    ...response,
    completed_at: isCut ? null : Math.floor(Date.now() / 1000),
    status: isCut ? 'incomplete' : 'completed',
    incomplete_details: isCut ? { reason: 'max_output_tokens' } : null,
    output: parts.map((part, index) => writer.item(index, part, statusOf(index))),
    usage: usageOf(usage),
  };
  return { ...whole, store: whole.store && keep(whole) };
}

function usageOf(usage: Usage): NonNullable<ResponseObject['usage']> {
  return {
    input_tokens: usage.prompt_tokens,
    input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
    output_tokens: usage.completion_tokens,
    output_tokens_details: { reasoning_tokens: usage.completion_tokens_details?.reasoning_tokens ?? 0 },
    total_tokens: usage.total_tokens,
  };
}

function responseStream(context: ShapeContext, options: ResponseOptions): StreamShape {
  const splitter = new PartSplitter();
  const writer = itemWriter(context, options);
  const response = begun(context, options);
  let end: AnswerEnd = { reason: 'stop' };
  let sequence = 0;
  const event = (type: string, data: object): ServerEvent => ({
    name: type,
    data: { type, sequence_number: sequence++, ...data },
  });
  const items = (changes: ReturnType<PartSplitter['push']>, status: 'completed' | 'incomplete'): ServerEvent[] =>
    changes.flatMap((change) => eventsOf(change, writer, status)).map(([type, data]) => event(type, data));
  return {
    open: () => [event('response.created', { response }), event('response.in_progress', { response })],
    delta(_index, delta) {
      if (delta.end) end = delta.end;
      return items(splitter.push(delta.events, delta.tokens), 'completed');
    },
    close(usage) {
      const last = items(splitter.finish(), end.reason === 'length' ? 'incomplete' : 'completed');
      const whole = finished(response, splitter.parts, end, usage, writer, options);
      return [...last, event(`response.${whole.status}`, { response: whole })];
    },
    fail: (error) => failure(response, error, event),
  };
}

/** Both events that programs look for: of the answer, and of the stream. */
function failure(
  response: ResponseObject,
  error: ApiError,
  event: (type: string, data: object) => ServerEvent,
): ServerEvent[] {
  const code = error.code ?? 'server_error';
  const { message, param } = error;
  const failed = { ...response, status: 'failed', store: false, error: { code, message } };
  return [
    event('response.failed', { response: failed }),
    // Documentation has the fields here, and OpenAI's own servers send them inside `error`, at which its SDK throws.
    event('error', { code, message, param, error: error.body.error }),
  ];
}
