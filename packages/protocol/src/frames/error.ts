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

/** Bytes that are not the frame they should be. The only error that a decoder throws, whatever it is given. */
export class FrameError extends Error {
  readonly reason: FrameErrorReason;
  constructor(reason: FrameErrorReason, message: string) {
    super(message);
    this.name = 'FrameError';
    this.reason = reason;
  }
}
