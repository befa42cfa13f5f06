import { effect, signal } from '@preact/signals';
import type { History, HistoryRange } from '@shoal/protocol';
import { askAdmin, wordsOf } from '../access/admin-api.ts';
import { link } from '../connection.ts';

/** Between two readings: a sample is a minute long. */
export const READ_MS = 30_000;

export const range = signal<HistoryRange>('24h');
/** Name of one coordinator; empty for all together. */
export const member = signal('');
export const history = signal<History | null>(null);
/** Why it could not be read the last time. */
export const fault = signal<string | null>(null);

let reading = 0;

/** Reads what is chosen. An answer that is overtaken by another is dropped. */
export async function readHistory(): Promise<void> {
  const mine = ++reading;
  const query = new URLSearchParams({ range: range.value, ...(member.value !== '' && { member: member.value }) });
  try {
    const read = await askAdmin<History>('GET', `history?${query}`);
    if (mine !== reading) return;
    history.value = read;
    fault.value = null;
  } catch (error) {
    if (mine === reading) fault.value = wordsOf(error);
  }
}

effect(() => {
  if (link.value.state !== 'signed-out') return;
  reading++;
  history.value = null;
  fault.value = null;
});
