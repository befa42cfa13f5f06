import type { z } from 'zod';
import { GrammarError } from '../grammar/index.ts';
import { DEFAULT_RETRY_S, GenerationError, type Refusal } from '../scheduler/generation.ts';

export type ApiErrorType = 'invalid_request_error' | 'rate_limit_error' | 'server_error';

export interface ErrorBody {
  error: { message: string; type: ApiErrorType; param: string | null; code: string | null };
}

/** Retrying sooner than this only adds load. */
const MIN_RETRY_AFTER_MS = 100;
/** The longest Retry-After that all OpenAI clients obey; openai-python ignores longer ones. */
const MAX_OBEYED_RETRY_MS = 60_000;
/** Longest parameter name of a client that is echoed. */
const MAX_ECHOED_NAME_CHARS = 64;
/** No message of ours is longer; those of chat templates are not ours. */
const MAX_MESSAGE_CHARS = 500;

const BODY_TOO_LARGE = 'The request body is too large. GET /docs states the limit.';

/** An error response in OpenAI's shape. Its message never quotes a prompt. */
export class ApiError extends Error {
  readonly status: number;
  readonly type: ApiErrorType;
  readonly param: string | null;
  readonly code: string | null;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    message: string,
    detail: { param?: string | null; code?: string | null; headers?: Record<string, string> } = {},
  ) {
    super(message.slice(0, MAX_MESSAGE_CHARS));
    this.name = 'ApiError';
    this.status = status;
    this.type = status === 429 ? 'rate_limit_error' : status >= 500 ? 'server_error' : 'invalid_request_error';
    this.param = detail.param ?? null;
    this.code = detail.code ?? null;
    this.headers = detail.headers ?? {};
  }

  get body(): ErrorBody {
    return { error: { message: this.message, type: this.type, param: this.param, code: this.code } };
  }

  static invalid(param: string | null, message: string, code: string | null = null): ApiError {
    return new ApiError(400, message, { param, code });
  }

  static missing(param: string): ApiError {
    return ApiError.invalid(param, `Missing required parameter: '${param}'.`, 'missing_parameter');
  }

  static contextLength(param: string, message: string): ApiError {
    return ApiError.invalid(param, message, 'context_length_exceeded');
  }

  static unknownModel(served: string): ApiError {
    return new ApiError(404, `Unknown model. This coordinator serves "${served}".`, {
      param: 'model',
      code: 'model_not_found',
    });
  }

  /** `meant`: a path that there is. */
  static unknownRoute(meant?: string): ApiError {
    const question = meant === undefined ? '' : ` Did you mean ${meant}?`;
    const message = `Unknown request URL.${question} GET /openapi.json lists the endpoints.`;
    return new ApiError(404, message, { code: 'unknown_url' });
  }

  static wrongMethod(allow: string): ApiError {
    return new ApiError(405, `This URL allows only ${allow}.`, {
      code: 'method_not_allowed',
      headers: { allow },
    });
  }

  static bodyTooLarge(): ApiError {
    return new ApiError(413, BODY_TOO_LARGE, { code: 'body_too_large' });
  }

  /** For a missing or unknown key. The message must not contain the key. */
  static unauthorized(message: string): ApiError {
    return new ApiError(401, message, { code: 'invalid_api_key', headers: { 'www-authenticate': 'Bearer' } });
  }

  /** For a limit of the client's own. Without a time, waiting does not help. */
  static rateLimited(message: string, retryAfterS: number | undefined): ApiError {
    return new ApiError(429, message, {
      code: 'rate_limit_exceeded',
      // The openai clients retry a 429 unless told not to.
      headers: retryAfterS === undefined ? { 'x-should-retry': 'false' } : retryAfter(retryAfterS),
    });
  }

  static draining(retryAfterS?: number): ApiError {
    return new ApiError(503, 'The coordinator is shutting down and takes no new requests. Retry shortly.', {
      code: 'draining',
      headers: retryAfter(retryAfterS),
    });
  }

  static starting(): ApiError {
    return new ApiError(503, 'The coordinator is still loading its model. GET /readyz shows the progress.', {
      code: 'starting',
    });
  }

  static timeout(): ApiError {
    return new ApiError(504, 'The answer took too long. Ask for fewer tokens, or retry later.', {
      code: 'timeout',
    });
  }

  static internal(): ApiError {
    return new ApiError(500, 'The coordinator failed to answer. Its log has the details under this request id.', {
      code: 'internal_error',
    });
  }

  /** The first issue of a body, named by its path. */
  static fromZod(error: z.ZodError, body: unknown): ApiError {
    const issue = error.issues[0];
    if (!issue) return ApiError.invalid(null, 'The request body is not valid.');
    const path = formatPath(issue.path);
    if (issue.code === 'unrecognized_keys') {
      const key = (issue.keys[0] ?? '').slice(0, MAX_ECHOED_NAME_CHARS);
      const name = path ? `${path}.${key}` : key;
      return ApiError.invalid(name, `Unrecognized request argument supplied: ${name}`, 'unknown_parameter');
    }
    if (path && isAbsent(body, issue.path)) return ApiError.missing(path);
    return ApiError.invalid(
      path || null,
      path ? `Invalid '${path}': ${issue.message}` : issue.message,
      'invalid_value',
    );
  }
}

/** Maps any thrown value to the response for the client. An unknown one becomes a 500 without details. */
export function toApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  if (thrown instanceof GenerationError) return fromGeneration(thrown);
  // What else of a grammar is the client's fault was told when it was compiled.
  if (thrown instanceof GrammarError && thrown.reason === 'full') {
    return fromGeneration(new GenerationError('share-full', thrown.message, DEFAULT_RETRY_S));
  }
  return fromFramework(thrown) ?? ApiError.internal();
}

/** Codes and messages for requests that the queue does not take. */
const REFUSALS: Readonly<Record<Refusal, readonly [code: string, message: string]>> = {
  'queue-full': ['queue_full', 'Too many requests are waiting.'],
  'share-full': [
    'queue_share_full',
    'Too many of your requests are waiting. The rest of the queue is reserved for other clients.',
  ],
  'too-late': ['queue_too_long', 'The queue is too long: the request would time out before its turn.'],
};

function fromGeneration(error: GenerationError): ApiError {
  const { reason, retryAfterS } = error;
  switch (reason) {
    case 'queue-full':
    case 'share-full':
    case 'too-late': {
      const [code, message] = REFUSALS[reason];
      const headers = retryAfter(retryAfterS);
      return new ApiError(429, `${message} Retry after the time in the Retry-After header.`, { code, headers });
    }
    case 'context-length':
      // Quotes only numbers: of tokens, and of those that the context or the KV cache holds.
      return ApiError.contextLength('prompt', error.message);
    case 'adapter-gone':
      return new ApiError(404, 'The adapter that the request names was unloaded.', {
        param: 'model',
        code: 'model_not_found',
      });
    case 'nothing-allowed':
      return ApiError.invalid(
        'logit_bias',
        'No token is left to draw: what the answer must fit and logit_bias rule out all of them. Forbid fewer tokens.',
      );
    case 'draining':
      return ApiError.draining(retryAfterS);
    case 'cancelled':
      return new ApiError(503, 'The request was cancelled.', { code: 'cancelled' });
    case 'stopped':
      // Clients would ask again after most other errors.
      return new ApiError(403, 'The operator of this coordinator cancelled the request.', {
        code: 'cancelled_by_operator',
        headers: { 'x-should-retry': 'false' },
      });
    case 'timeout':
      return ApiError.timeout();
    case 'internal':
      return ApiError.internal();
    default:
      return reason satisfies never;
  }
}

function retryAfter(seconds: number | undefined): Record<string, string> {
  const waitMs = Math.max(MIN_RETRY_AFTER_MS, Math.ceil(1000 * (seconds ?? DEFAULT_RETRY_S)));
  return {
    'retry-after': String(Math.ceil(waitMs / 1000)),
    'retry-after-ms': String(waitMs),
    // Some OpenAI clients retry at once after longer times.
    ...(waitMs > MAX_OBEYED_RETRY_MS && { 'x-should-retry': 'false' }),
  };
}

/** Responses to Fastify's own errors, by code. */
const FRAMEWORK_ERRORS: Readonly<Record<string, readonly [status: number, code: string, message: string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: [413, 'body_too_large', BODY_TOO_LARGE],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    415,
    'unsupported_media_type',
    'Send the body as JSON with the header Content-Type: application/json (curl: -H "Content-Type: application/json").',
  ],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [
    400,
    'invalid_content_length',
    'The body does not have the length in Content-Length.',
  ],
  FST_ERR_BAD_URL: [400, 'invalid_url', 'The URL is not valid.'],
  FST_ERR_ASYNC_CONSTRAINT: [400, 'invalid_url', 'The URL is not valid.'],
  FST_ERR_MAX_PARAM_LENGTH: [404, 'unknown_url', 'A part of the URL is too long to name anything here.'],
};

/** Fastify's messages can quote the body, so they are not passed on. */
function fromFramework(thrown: unknown): ApiError | undefined {
  if (!(thrown instanceof Error)) return undefined;
  const { code = '', statusCode } = thrown as Error & { code?: unknown; statusCode?: unknown };
  const known = FRAMEWORK_ERRORS[String(code)];
  if (known) return new ApiError(known[0], known[2], { code: known[1] });
  if (statusCode === 400) return ApiError.invalid(null, 'The request is not valid.', 'invalid_request');
  // From the file server, for a path outside the folder of the pages.
  return statusCode === 403 || statusCode === 404 ? ApiError.unknownRoute() : undefined;
}

/** Whatever the kind of the issue: what is required may be a union, or have a check of its own. */
function isAbsent(body: unknown, path: readonly PropertyKey[]): boolean {
  let value = body;
  for (const key of path) value = (value as Record<PropertyKey, unknown> | undefined)?.[key];
  return value === undefined;
}

function formatPath(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) => (typeof part === 'number' ? `[${part}]` : index > 0 ? `.${String(part)}` : String(part)))
    .join('')
    .slice(0, 2 * MAX_ECHOED_NAME_CHARS);
}

/**
 * A thrown value for the log, without any text that a client may have sent. Messages of libraries quote their input, so only
 * those of this repository (GenerationError, ApiError) are kept, and of others the class and the stack's frames.
 */
export function describeFailure(thrown: unknown): Record<string, unknown> {
  if (!(thrown instanceof Error)) return { errorName: typeof thrown };
  return {
    errorName: thrown.name,
    ...(thrown instanceof GenerationError && { reason: thrown.reason, errorMessage: thrown.message }),
    ...(thrown instanceof ApiError && { code: thrown.code, errorMessage: thrown.message }),
    frames: (thrown.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line)),
    ...(thrown.cause !== undefined && { cause: describeFailure(thrown.cause) }),
  };
}
