/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export type ModelErrorReason =
  /** config.json or another JSON file is not a JSON object. */
  | 'bad-json'
  | 'unknown-architecture'
  | 'missing-key'
  | 'bad-value'
  /** What a caller allows leaves no token to draw. */
  | 'nothing-allowed'
  /** Two keys that cannot both be true. */
  | 'contradiction'
  /** Understood, but not computed by this code. */
  | 'unsupported'
  /** Neither understood nor known to be harmless. */
  | 'unknown-key'
  | 'bad-tokenizer'
  | 'bad-template'
  | 'bad-token'
  | 'not-found';

/** An error in a model's description (config, tokenizer, chat template); `key` names the part of it. */
export class ModelError extends Error {
  readonly reason: ModelErrorReason;
  readonly key: string | undefined;
  constructor(reason: ModelErrorReason, key: string | undefined, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ModelError';
    this.reason = reason;
    this.key = key;
  }
}

export type CheckpointErrorReason =
  | 'not-found'
  | 'truncated'
  | 'bad-header'
  | 'header-too-large'
  | 'overlap'
  | 'gap'
  | 'out-of-range'
  | 'duplicate'
  | 'wrong-dtype'
  | 'wrong-shape'
  | 'wrong-size'
  | 'missing-tensor'
  | 'unknown-tensor'
  /** NaN or ∞ among the weights. */
  | 'not-finite'
  /** A scale of quantised weights that no quantiser writes. */
  | 'bad-scale'
  /** An index of a group of quantised weights that there isn't. */
  | 'bad-order'
  /** Two statements about a tensor that cannot both be true. */
  | 'contradiction'
  | 'bad-index'
  | 'changed'
  | 'closed';

/** An error in a checkpoint's weights, with the file and, where one is concerned, the tensor. */
export class CheckpointError extends Error {
  readonly reason: CheckpointErrorReason;
  readonly file: string;
  readonly tensor: string | undefined;
  constructor(
    reason: CheckpointErrorReason,
    file: string,
    tensor: string | undefined,
    detail: string,
    options?: ErrorOptions,
  ) {
    super(tensor === undefined ? `${file}: ${detail}` : `${file}: tensor ${tensor}: ${detail}`, options);
    this.name = 'CheckpointError';
    this.reason = reason;
    this.file = file;
    this.tensor = tensor;
  }
}
