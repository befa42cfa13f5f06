import type { Visit } from '../donor-state.ts';
import { formatBytes } from '../format.ts';

/** Where weights came from besides the coordinator, and what was passed on; empty for nothing. */
export function fetchedText({ mirrorBytes, tabBytes, givenBytes }: Visit): string {
  const parts = [
    mirrorBytes > 0 && `${formatBytes(mirrorBytes)} from a mirror`,
    tabBytes > 0 && `${formatBytes(tabBytes)} from other tabs`,
    givenBytes > 0 && `${formatBytes(givenBytes)} given to other tabs`,
  ];
  return parts.filter(Boolean).join(', ');
}
