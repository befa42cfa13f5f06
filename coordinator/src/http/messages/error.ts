import type { ApiError } from '../errors.ts';

/** An error in the shape of Anthropic's API. */
export interface MessagesError {
  type: 'error';
  error: { type: string; message: string; details?: { error_code: string } };
  request_id: string;
}

const TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  // Not with Anthropic's own status 529: load balancers try another server at 503 only, and their clients repeat either.
  503: 'overloaded_error',
  504: 'timeout_error',
};

export function messagesError(error: ApiError, requestId: string): MessagesError {
  const type = TYPES[error.status] ?? (error.status >= 500 ? 'api_error' : 'invalid_request_error');
  const details = error.code === null ? {} : { details: { error_code: error.code } };
  return { type: 'error', error: { type, message: error.message, ...details }, request_id: requestId };
}

/** Whether an error of this path has Anthropic's shape. */
export function isMessagesPath(path: string): boolean {
  return /^\/+v1\/+messages(\/|$)/i.test(path);
}
