import { type Grammar, GrammarError, type GrammarSource, type JsonSchema } from '../../grammar/index.ts';
import type { TokenConstraint } from '../../scheduler/token-constraint.ts';
import type { TextClient } from '../../text/text-thread.ts';
import { shapeFault } from '../body.ts';
import { ApiError } from '../errors.ts';
import type { ChatRequest } from './chat-schema.ts';
import type { CompletionRequest } from './completion-schema.ts';
import type { ParseDeps } from './parsed-request.ts';

/** What an answer must fit, and the parameter that asked for it. */
export interface Asked {
  param: string;
  source: GrammarSource;
}

type Body = CompletionRequest | ChatRequest;

/** What a request asks its answer to fit. Throws an ApiError if it asks for more than one thing. */
export function askedOf(body: Body): Asked | undefined {
  const structured = body.structured_outputs ?? {};
  const all = [
    responseFormat(body.response_format),
    jsonSchema('structured_outputs.json', structured.json),
    jsonSchema('guided_json', body.guided_json),
    jsonSchema('json_schema', body.json_schema),
    structured.json_object
      ? { param: 'structured_outputs.json_object', source: { kind: 'json-object' } as const }
      : undefined,
    regex('structured_outputs.regex', structured.regex),
    regex('guided_regex', body.guided_regex),
    choice('structured_outputs.choice', structured.choice),
    choice('guided_choice', body.guided_choice),
    gbnf('structured_outputs.grammar', structured.grammar),
    gbnf('guided_grammar', body.guided_grammar),
    // Editors send an empty grammar for none.
    body.grammar === '' ? undefined : gbnf('grammar', body.grammar),
  ].filter((one) => one !== undefined);
  if (all.length <= 1) return all[0];
  const [first, second] = all as [Asked, Asked];
  throw ApiError.invalid(
    second.param,
    `'${first.param}' and '${second.param}' cannot be sent together. Send one of them.`,
  );
}

function responseFormat(format: Body['response_format']): Asked | undefined {
  if (format?.type === 'json_object') {
    const source: GrammarSource = format.schema
      ? { kind: 'json-schema', schema: format.schema }
      : { kind: 'json-object' };
    return { param: 'response_format', source };
  }
  if (format?.type !== 'json_schema') return undefined;
  const schema = format.json_schema?.schema ?? format.schema;
  if (schema) return { param: 'response_format', source: { kind: 'json-schema', schema } };
  throw ApiError.missing('response_format.json_schema.schema');
}

function jsonSchema(param: string, schema: unknown): Asked | undefined {
  if (schema == null) return undefined;
  return {
    param,
    source: {
      kind: 'json-schema',
      schema: typeof schema === 'string' ? parsed(schema, param) : (schema as JsonSchema),
    },
  };
}

function parsed(text: string, param: string): JsonSchema {
  const fault = shapeFault(Buffer.from(text));
  if (fault) throw ApiError.invalid(param, `Invalid '${param}': it has ${fault}.`);
  try {
    return JSON.parse(text) as JsonSchema;
  } catch {
    throw ApiError.invalid(param, `Invalid '${param}': the string is not JSON. Send the schema as an object.`);
  }
}

function regex(param: string, pattern: string | null | undefined): Asked | undefined {
  return pattern == null ? undefined : { param, source: { kind: 'regex', pattern } };
}

function choice(param: string, choices: readonly string[] | null | undefined): Asked | undefined {
  return choices == null ? undefined : { param, source: { kind: 'choice', choices } };
}

function gbnf(param: string, grammar: string | null | undefined): Asked | undefined {
  if (grammar === '')
    throw ApiError.invalid(param, `Invalid '${param}': it is empty. Leave it out, or send a grammar.`);
  return grammar == null ? undefined : { param, source: { kind: 'gbnf', grammar } };
}

/** Compiles what a completion must fit. Rejects with an ApiError, or with the reason of the client's signal. */
export async function constraintOf(
  body: CompletionRequest,
  deps: ParseDeps,
  client: TextClient,
): Promise<(() => TokenConstraint) | undefined> {
  const asked = askedOf(body);
  if (!asked) return undefined;
  refuseEndless(body);
  const grammar = await compile(asked, deps, client);
  return () => grammar.open();
}

/** An answer that is complete by its grammar must be able to end. */
export function refuseEndless(body: Pick<Body, 'ignore_eos' | 'min_tokens'>): void {
  const param = body.ignore_eos ? 'ignore_eos' : body.min_tokens ? 'min_tokens' : undefined;
  if (param)
    throw ApiError.invalid(param, `Invalid '${param}': an answer that must fit a grammar ends when it is complete.`);
}

/** Rejects with an ApiError that names the parameter, or with the reason of the client's signal. */
export async function compile({ param, source }: Asked, { grammars }: ParseDeps, client: TextClient): Promise<Grammar> {
  try {
    return await grammars.compile(source, client);
  } catch (thrown) {
    throw refusal(thrown, param);
  }
}

/** Rejects with an ApiError that names `param` if no answer that fits begins with `begun`. */
export async function checkBegun(grammar: Grammar, begun: string, param: string): Promise<void> {
  const probe = grammar.open({ begun });
  try {
    await probe.masks([]);
  } catch (thrown) {
    throw refusal(thrown, param);
  } finally {
    probe.close();
  }
}

/** What is thrown for a grammar that cannot be had. */
export function refusal(thrown: unknown, param: string): unknown {
  if (!(thrown instanceof GrammarError)) return thrown;
  switch (thrown.reason) {
    case 'unsupported':
    case 'too-large':
      return ApiError.invalid(param, `Invalid '${param}': ${thrown.message}`, 'invalid_value');
    case 'full':
    case 'timeout':
    case 'failed':
      return thrown;
    default:
      return thrown.reason satisfies never;
  }
}
