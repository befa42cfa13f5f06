import type { PageTexts } from '@shoal/protocol/page';

const STORAGE_KEY = 'shoal.invite';
/** Form of an invitation, as in `inviteTokenSchema`. */
const TOKEN_PATTERN = /^[\w-]{8,128}$/;

interface InviteEnvironment {
  storage: PageTexts;
  location: Pick<Location, 'hash' | 'pathname' | 'search'>;
  history: Pick<History, 'replaceState'>;
}

/**
 * Moves an invitation from the address (`/#invite=…`), where it would be visible, kept in the history and copied along, to the
 * storage. A fragment is never sent to a server. Returns whether there was a usable one.
 */
export function takeInvite({ storage, location, history }: InviteEnvironment): boolean {
  if (!location.hash.startsWith('#invite=')) return false;
  const token = readInvite(location.hash);
  history.replaceState(null, '', location.pathname + location.search);
  if (token === undefined) return false;
  rememberInvite(storage, token);
  return true;
}

/** Returns the invitation in a pasted text: a link that ends in one, or the bare token. */
export function readInvite(text: string): string | undefined {
  const token = text.trim().split('#invite=').at(-1)!;
  return TOKEN_PATTERN.test(token) ? token : undefined;
}

export function rememberInvite(storage: PageTexts, token: string): void {
  storage.setItem(STORAGE_KEY, token);
}

export function rememberedInvite(storage: PageTexts): string | undefined {
  return readInvite(storage.getItem(STORAGE_KEY) ?? '');
}
