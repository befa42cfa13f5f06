import type { HelloReply, RefusalCode } from '@shoal/protocol';

/** More that the donor's page is told, by the fields of a refusal. */
type More = Pick<Extract<HelloReply, { ok: false }>, 'reason' | 'untilMs' | 'retryAfterMs'>;

/** A tab is not let into the swarm. The code is for its page, the message for its donor. */
export class JoinRefused extends Error {
  readonly code: RefusalCode;
  readonly more: More;
  constructor(code: RefusalCode, message: string, more: More = {}) {
    super(message);
    this.name = 'JoinRefused';
    this.code = code;
    this.more = more;
  }
}
