export type WeightsErrorReason =
  | 'bad-shape'
  | 'bad-weight'
  | 'bad-shard'
  | 'bad-manifest'
  | 'bad-model'
  | 'not-packed'
  | 'bad-output'
  | 'corrupt'
  | 'disk-full'
  | 'busy'
  | 'aborted';

/** What can go wrong with packed weights; the message names the file, tensor or expert, and what to do. */
export class WeightsError extends Error {
  readonly reason: WeightsErrorReason;
  constructor(reason: WeightsErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'WeightsError';
    this.reason = reason;
  }
}
