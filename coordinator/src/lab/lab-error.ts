export type LabErrorReason =
  /** A parameter that can't be served, named by `param`. */
  | 'invalid'
  /** Too many wait. */
  | 'busy'
  /** It took longer than it may. */
  | 'timeout';

/** Why a text was not looked at, in words for the client. */
export class LabError extends Error {
  readonly reason: LabErrorReason;
  readonly param: string | undefined;
  constructor(reason: LabErrorReason, message: string, param?: string) {
    super(message);
    this.name = 'LabError';
    this.reason = reason;
    this.param = param;
  }
}
