import { signal } from '@preact/signals';

const KEY = 'shoal-api-key';

/** Sent with every request once it is set; it stays in this tab, and is forgotten when that is closed. */
export const apiKey = signal(sessionStorage.getItem(KEY) ?? '');
/** The coordinator has asked for a key, or refused the one that it got. */
export const keyWanted = signal(apiKey.value !== '');

export function setApiKey(key: string): void {
  apiKey.value = key.trim();
  sessionStorage.setItem(KEY, apiKey.value);
}

export function authorization(): Record<string, string> {
  return apiKey.value === '' ? {} : { Authorization: `Bearer ${apiKey.value}` };
}

/** Call with every answer's status. */
export function noteStatus(status: number): void {
  if (status === 401) keyWanted.value = true;
}
