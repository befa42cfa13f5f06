import type { Signal } from '@shoal/protocol';

/** The candidates in a signal, as text from `candidate:` on. */
export function candidatesOf(signal: Signal): string[] {
  return (signal.type === 'candidate' ? signal.candidate.candidate : signal.sdp).match(/candidate:.*/g) ?? [];
}

/** A candidate's address, as `ADDRESS:PORT`. */
export function addressOf(candidate: string): string | undefined {
  const [, , , , address, port] = candidate.split(' ');
  if (!address || !port) return undefined;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
