/** A source that an encoder–decoder's engine has read: what the rows of a target attend to. Nothing of it changes. */
export interface EngineSource {
  /** Tokens of the source. */
  readonly length: number;
  readonly bytes: number;
  /** Frees its memory. No row may have it afterwards. */
  free(): void;
}
