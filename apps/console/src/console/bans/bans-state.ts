import { effect, signal } from '@preact/signals';
import type { BansView } from '@shoal/protocol';
import { askAdmin, Refused } from '../access/admin-api.ts';
import type { Result } from '../adapter-words.ts';
import { link } from '../connection.ts';

/** As the coordinator last told it; null before. */
export const bans = signal<BansView | null>(null);
/** Why they could not be read the last time. */
export const fault = signal<string | null>(null);
/** What came of the last command. */
export const result = signal<Result | null>(null);

const wordsOf = (error: unknown): string => (error instanceof Refused ? error.message : String(error));

export async function readBans(): Promise<void> {
  try {
    bans.value = await askAdmin<BansView>('GET', 'bans');
    fault.value = null;
  } catch (error) {
    fault.value = wordsOf(error);
  }
}

/** Asks for a change of who is kept out. Returns whether that was done; `result` says why not. */
export async function changeBans(
  method: 'POST' | 'DELETE',
  path: string,
  said: string,
  body?: object,
): Promise<boolean> {
  try {
    bans.value = await askAdmin<BansView>(method, path, body);
    result.value = { ok: true, text: said };
    return true;
  } catch (error) {
    result.value = { ok: false, text: wordsOf(error) };
    return false;
  }
}

/** Takes a donor's name away, or dissolves a team; `result` says why not. */
export async function takeAway(kind: 'names' | 'teams', which: string): Promise<boolean> {
  try {
    await askAdmin('DELETE', `${kind}/${encodeURIComponent(which)}`);
    const text = kind === 'names' ? `No donor is called ${which} any more.` : `Team ${which} is dissolved.`;
    result.value = { ok: true, text };
    return true;
  } catch (error) {
    result.value = { ok: false, text: wordsOf(error) };
    return false;
  }
}

effect(() => {
  if (link.value.state !== 'signed-out') return;
  bans.value = null;
  fault.value = null;
  result.value = null;
});
