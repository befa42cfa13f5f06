import { signal } from '@preact/signals';
import type { BansView } from '@shoal/protocol';
import { askAdmin, attempt } from '../access/admin-api.ts';
import { adminView, forgetAtSignOut } from '../access/admin-view.ts';
import type { Result } from '../adapter-words.ts';

export const { view: bans, fault, read: readBans } = adminView<BansView>('bans');
/** What came of the last command. */
export const result = signal<Result | null>(null);
forgetAtSignOut(result);

/** Asks for a change of who is kept out. Returns whether that was done; `result` says why not. */
export function changeBans(method: 'POST' | 'DELETE', path: string, said: string, body?: object): Promise<boolean> {
  return commanded(async () => {
    bans.value = await askAdmin<BansView>(method, path, body);
    return said;
  });
}

/** Takes a donor's name away, or dissolves a team; `result` says why not. */
export function takeAway(kind: 'names' | 'teams', which: string): Promise<boolean> {
  return commanded(async () => {
    await askAdmin('DELETE', `${kind}/${encodeURIComponent(which)}`);
    return kind === 'names' ? `No donor is called ${which} any more.` : `Team ${which} is dissolved.`;
  });
}

async function commanded(command: () => Promise<string>): Promise<boolean> {
  const { ok } = (result.value = await attempt(command));
  return ok;
}
