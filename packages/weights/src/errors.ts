export type WeightsErrorReason =
  | 'bad-shape'
  | 'bad-weight'
  | 'bad-shard'
  | 'bad-manifest'
  | 'bad-model'
  | 'not-packed'
  | 'bad-output'
  | 'corrupt'
  | 'unreadable'
  | 'changed'
  | 'disk-full'
  | 'unwritable'
  | 'busy'
  | 'aborted';

/** An error in packed weights. The message names the file, tensor or expert, and a remedy. */
export class WeightsError extends Error {
  readonly reason: WeightsErrorReason;
  constructor(reason: WeightsErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'WeightsError';
    this.reason = reason;
  }
}
