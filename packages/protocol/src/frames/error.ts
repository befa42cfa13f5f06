export type FrameErrorReason =
  | 'truncated'
  | 'oversized'
  | 'bad-version'
  | 'bad-type'
  | 'bad-count'
  | 'bad-order'
  | 'bad-code'
  | 'bad-padding'
  | 'not-finite'
  | 'mismatch';

/** The bytes are not a valid frame. The only error that a decoder throws, for any input. */
export class FrameError extends Error {
  readonly reason: FrameErrorReason;
  constructor(reason: FrameErrorReason, message: string) {
    super(message);
    this.name = 'FrameError';
    this.reason = reason;
  }
}
