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

/** Throws a FrameError unless `count` is from 1 to `max`. */
export function requireCount(name: string, count: number, max: number): void {
  if (!(count >= 1 && count <= max)) {
    throw new FrameError('bad-count', `${name} must be from 1 to ${max}, got ${count}.`);
  }
}
