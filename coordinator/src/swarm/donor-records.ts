import type { ExpertIndex } from '@shoal/placement';
import type { PeerSession } from './peer-session.ts';

/** Donors remembered for their totals and what they held. */
const MAX_DONORS = 10_000;
/** Experts remembered of all donors together: a donor of a V3 swarm may hold thousands. 8 bytes each make 16 MB. */
const MAX_EXPERTS = 2_000_000;

/** What is known of one donor: one browser's profile, however many of its tabs are in. */
export interface DonorHistory {
  /** By all its tabs, of all visits. */
  tokensHelped: number;
  /** By number of the tab, what it held when it was last seen: its browser has kept those weights. */
  readonly held: Map<number, readonly ExpertIndex[]>;
}

/** Donors by the hash of their token; bounded, those who came or left longest ago go first. */
export class DonorRecords {
  readonly #records = new Map<string, DonorHistory>();
  #experts = 0;

  /** A donor's record, made if there is none. Those who are in keep theirs, even if it is forgotten here. */
  of(donorId: string): DonorHistory {
    const record = this.#records.get(donorId) ?? { tokensHelped: 0, held: new Map<number, readonly ExpertIndex[]>() };
    this.#seen(donorId, record);
    return record;
  }

  /** A tab leaves. */
  remember({ donorId, donor, tab, assigned }: PeerSession): void {
    const known = this.#records.get(donorId);
    if (known) this.#experts -= countHeld(known);
    if (assigned.size > 0) donor.held.set(tab, [...assigned]);
    this.#experts += countHeld(donor);
    this.#seen(donorId, donor);
  }

  #seen(donorId: string, record: DonorHistory): void {
    this.#records.delete(donorId);
    this.#records.set(donorId, record);
    for (const [oldest, forgotten] of this.#records) {
      if (this.#records.size <= MAX_DONORS && this.#experts <= MAX_EXPERTS) break;
      this.#records.delete(oldest);
      this.#experts -= countHeld(forgotten);
    }
  }
}

function countHeld({ held }: DonorHistory): number {
  let experts = 0;
  for (const list of held.values()) experts += list.length;
  return experts;
}
