import type { RefusalCode } from '@shoal/protocol';

/** A tab is not taken; the message is for its donor. */
export class HelloRefused extends Error {
  readonly code: RefusalCode;
  constructor(code: RefusalCode, message: string) {
    super(message);
    this.name = 'HelloRefused';
    this.code = code;
  }
}
