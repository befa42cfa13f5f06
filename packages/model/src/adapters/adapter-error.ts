export type AdapterErrorReason =
  /** A file of the adapter is missing, unreadable or damaged. */
  | 'unreadable'
  /** adapter_config.json or a tensor asks for what isn't computed. */
  | 'unsupported'
  /** The adapter was made for another model. */
  | 'other-model'
  /** A value that no adapter can have. */
  | 'bad-value'
  | 'too-large';

/** An error in an adapter, with the file that it is about. */
export class AdapterError extends Error {
  readonly reason: AdapterErrorReason;
  constructor(reason: AdapterErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'AdapterError';
    this.reason = reason;
  }
}
