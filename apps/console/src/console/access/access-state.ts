import { signal } from '@preact/signals';
import type { AccessKind, AccessView, EntryChange, MadeEntry, NewEntry, UsageReport, UsageRow } from '@shoal/protocol';
import type { Result } from '../adapter-words.ts';
import { askAdmin, attempt } from './admin-api.ts';
import { adminView, forgetAtSignOut } from './admin-view.ts';

export const { view: access, fault, read: readAccess } = adminView<AccessView>('access');
/** What came of the last command. */
export const result = signal<Result | null>(null);
/** The entry that was made last, with its token. The page forgets it when told to, or when it is left. */
export const made = signal<{ kind: AccessKind; name: string; token: string } | null>(null);

/** What keys have used, by name; null where it is not kept, or not known yet. */
export interface KeyFigures {
  today: ReadonlyMap<string, UsageRow>;
  month: ReadonlyMap<string, UsageRow>;
}
export const figures = signal<KeyFigures | null>(null);

/** Figures that can't be read now stay as they were; the lists' own fault says what is the matter. */
export async function readFigures(): Promise<void> {
  try {
    const today = new Date().toISOString().slice(0, 10);
    const [ofToday, ofMonth] = await Promise.all([
      askAdmin<UsageReport>('GET', `usage?by=key&from=${today}&to=${today}`),
      askAdmin<UsageReport>('GET', 'usage?by=key'),
    ]);
    figures.value = { today: byKey(ofToday), month: byKey(ofMonth) };
  } catch {
    // See above.
  }
}

const byKey = ({ rows }: UsageReport): Map<string, UsageRow> => new Map(rows.map((row) => [row.key ?? '', row]));

/** Returns whether it was made; `result` says why not. */
export function make<Kind extends AccessKind>(kind: Kind, entry: NewEntry<Kind>): Promise<boolean> {
  return commanded(async () => {
    const { token } = await askAdmin<MadeEntry<Kind>>('POST', kind, entry);
    made.value = { kind, name: entry.name, token };
    return `${entry.name} was made.`;
  });
}

export function change<Kind extends AccessKind>(kind: Kind, name: string, to: EntryChange<Kind>): Promise<boolean> {
  return commanded(async () => {
    await askAdmin('PATCH', `${kind}/${encodeURIComponent(name)}`, to);
    return `${name} was changed.`;
  });
}

export function revoke(kind: AccessKind, name: string): Promise<boolean> {
  return commanded(async () => {
    await askAdmin('DELETE', `${kind}/${encodeURIComponent(name)}`);
    if (made.value?.name === name && made.value.kind === kind) made.value = null;
    return `${name} was revoked.`;
  });
}

/** Runs a command that returns what is told of it, and reads the lists again if that was done. */
export async function commanded(command: () => Promise<string>): Promise<boolean> {
  const { ok } = (result.value = await attempt(command));
  if (ok) await readAccess();
  return ok;
}

forgetAtSignOut(figures, result, made);
