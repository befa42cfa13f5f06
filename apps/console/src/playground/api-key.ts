import { signal } from '@preact/signals';
import { tabStorage } from '../tab-storage.ts';

const KEY = 'shoal-api-key';

/** Sent with every request once it is set. Kept only in this tab's session. */
export const apiKey = signal(tabStorage.getItem(KEY) ?? '');
/** Whether the coordinator has required a key or refused the one it got. */
export const keyWanted = signal(apiKey.value !== '');

export function setApiKey(key: string): void {
  apiKey.value = key.trim();
  tabStorage.setItem(KEY, apiKey.value);
}

export function authorization(): Record<string, string> {
  return apiKey.value === '' ? {} : { Authorization: `Bearer ${apiKey.value}` };
}

/** Call with the status of every response. */
export function noteStatus(status: number): void {
  if (status === 401) keyWanted.value = true;
}
