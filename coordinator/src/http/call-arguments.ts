import { isPlainObject } from './requests/fields.ts';

/** The arguments of a call; undefined where the call was cut off, or is no valid one. */
export function callArguments(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isPlainObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
