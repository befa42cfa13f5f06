export type TransportErrorReason = 'closed' | 'too-large' | 'queue-full' | 'timeout' | 'unavailable' | 'failed';

/** A frame was not sent, or a connection could not be made. */
export class TransportError extends Error {
  readonly reason: TransportErrorReason;
  constructor(reason: TransportErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TransportError';
    this.reason = reason;
  }
}
