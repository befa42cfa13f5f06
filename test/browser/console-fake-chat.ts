import type { ServerResponse } from 'node:http';
import type { TokenTrace } from '@shoal/protocol';
import { chatChunkSchema, modelSchema } from '../../coordinator/src/http/response-schema.ts';
import { storyTokens } from './console-fake-data.ts';

/** What the fake coordinator answers to one chat request. */
export type ChatScript =
  | {
      /** Pieces as they stream, one token each. */
      reasoning?: string[];
      content?: string[];
      calls?: { name: string; arguments: string[] }[];
      finish?: 'stop' | 'length';
      /** Continues after the first pieces of each kind once this is settled. */
      held?: Promise<void>;
      /** Broken off with this error instead of its end. */
      error?: string;
    }
  | { status: number; message: string; param: string | null };

export interface FakeFacts {
  convention: string;
  tools: 'template' | 'described';
  reasoning: boolean;
  description?: string;
}

/** An entry of /v1/models, in the shape that the real coordinator promises. */
export function modelEntry(facts: FakeFacts, own: { id?: string; parent?: string } = {}): unknown {
  return modelSchema.parse({
    id: 'tiny-stories',
    object: 'model',
    type: 'model',
    display_name: 'tiny-stories',
    created: 1,
    created_at: '1970-01-01T00:00:01Z',
    owned_by: 'shoal',
    root: 'tiny-stories',
    max_model_len: 2048,
    shoal: facts,
    ...own,
  });
}

type Delta = Record<string, unknown>;

function* deltas(script: Exclude<ChatScript, { status: number }>): Generator<{ delta: Delta; isFirst: boolean }> {
  for (const [i, piece] of (script.reasoning ?? []).entries()) {
    yield { delta: { reasoning_content: piece }, isFirst: i === 0 };
  }
  for (const [i, piece] of (script.content ?? []).entries()) yield { delta: { content: piece }, isFirst: i === 0 };
  for (const [index, call] of (script.calls ?? []).entries()) {
    const head = { index, id: `call_${index}`, type: 'function' };
    yield { delta: { tool_calls: [{ ...head, function: { name: call.name, arguments: '' } }] }, isFirst: false };
    for (const [i, piece] of call.arguments.entries()) {
      yield { delta: { tool_calls: [{ index, function: { arguments: piece } }] }, isFirst: i === 0 };
    }
  }
}

/** Streams a scripted answer with traces, and log-probabilities where they are asked for. */
export async function answerChat(
  response: ServerResponse,
  body: Record<string, unknown>,
  script: Exclude<ChatScript, { status: number }>,
  layers: readonly number[],
): Promise<void> {
  const head = { id: 'chatcmpl-1', created: 1, model: 'tiny-stories', system_fingerprint: 'fp_1' };
  const send = (choices: unknown[], usage: unknown = null): void => {
    const chunk = { ...head, object: 'chat.completion.chunk', choices, usage };
    response.write(`data: ${JSON.stringify(chatChunkSchema.parse(chunk))}\n\n`);
  };
  const choice = { index: 0, logprobs: null, finish_reason: null };
  send([{ ...choice, delta: { role: 'assistant', content: '' } }]);
  const pieces = [...deltas(script)];
  const traces = storyTokens(pieces.length, layers);
  for (const [i, { delta, isFirst }] of pieces.entries()) {
    if (response.closed) return;
    const token = { ...(traces[i] as TokenTrace), text: wordOf(delta) };
    send([{ ...choice, delta, logprobs: logprobsOf(body, token.text), shoal: { tokens: [token] } }]);
    if (isFirst) await script.held;
  }
  if (script.error !== undefined) {
    response.end(
      `data: ${JSON.stringify({ error: { message: script.error, type: 'server_error', param: null } })}\n\n`,
    );
    return;
  }
  send([{ ...choice, delta: {}, finish_reason: script.calls ? 'tool_calls' : (script.finish ?? 'stop') }]);
  const counts = { prompt_tokens: 12, completion_tokens: pieces.length, total_tokens: 12 + pieces.length };
  const reasoning = script.reasoning && { completion_tokens_details: { reasoning_tokens: script.reasoning.length } };
  send([], { ...counts, ...reasoning });
  response.end('data: [DONE]\n\n');
}

function wordOf(delta: Delta): string {
  const [call] = (delta['tool_calls'] ?? []) as { function: { name?: string; arguments: string } }[];
  return String(delta['content'] ?? delta['reasoning_content'] ?? call?.function.name ?? call?.function.arguments);
}

function logprobsOf(body: Record<string, unknown>, token: string): unknown {
  if (body['logprobs'] !== true) return null;
  const one = { token, logprob: Math.log(0.5), bytes: [...Buffer.from(token)] };
  const other = { ...one, token: 'perhaps', logprob: Math.log(0.25) };
  return { content: [{ ...one, top_logprobs: [one, other] }], refusal: null };
}
