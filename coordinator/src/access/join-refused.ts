import type { RefusalCode } from '@shoal/protocol';

/** A tab is not let into the swarm. The code is for its page, the message for its donor. */
export class JoinRefused extends Error {
  readonly code: RefusalCode;
  constructor(code: RefusalCode, message: string) {
    super(message);
    this.name = 'JoinRefused';
    this.code = code;
  }
}
