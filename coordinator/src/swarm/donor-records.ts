import type { ExpertIndex } from '@shoal/placement';

/** Donors whose experts are remembered. */
const MAX_DONORS = 10_000;
/** Experts remembered for all donors together, 16 MB at 8 bytes each: one donor of a V3 swarm may hold thousands. */
const MAX_EXPERTS = 2_000_000;

/** The record of one donor (one browser profile), over all of its tabs and visits. */
export interface DonorHistory {
  /** What each tab held when it left, by tab number: its browser still has those weights. */
  readonly held: Map<number, readonly ExpertIndex[]>;
}

/** The part of a peer that is remembered when it leaves. */
interface EndedVisit {
  readonly donorId: string;
  readonly donor: DonorHistory;
  readonly tab: number;
  readonly assigned: ReadonlySet<ExpertIndex>;
}

/** Donor histories by the hash of the donor's token. Bounded: the donor that joined or left longest ago is forgotten first. */
export class DonorRecords {
  readonly #records = new Map<string, DonorHistory>();
  #experts = 0;

  /** A donor's history, created if needed. Peers keep theirs even if it is forgotten here. */
  of(donorId: string): DonorHistory {
    const record = this.#records.get(donorId) ?? { held: new Map<number, readonly ExpertIndex[]>() };
    this.#seen(donorId, record);
    return record;
  }

  /** Records what a tab held when it leaves. */
  remember({ donorId, donor, tab, assigned }: EndedVisit): void {
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
