/** What a check found. A failure means that serving would not work; a warning, that it would for some, or not for long. */
export interface Finding {
  verdict: 'ok' | 'warning' | 'failed';
  what: string;
  /** What to do about it. */
  remedy?: string;
}

/** `name` is what the report calls it. Rejects for what it did not expect. */
export interface Check {
  name: string;
  run: () => Promise<readonly Finding[]>;
}

export const ok = (what: string): Finding => ({ verdict: 'ok', what });
export const warning = (what: string, remedy: string): Finding => ({ verdict: 'warning', what, remedy });
export const failed = (what: string, remedy: string): Finding => ({ verdict: 'failed', what, remedy });
