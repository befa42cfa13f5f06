import type { ExpertIndex } from '@shoal/placement';
import type { PeerSession } from './peer-session.ts';

/** Donors remembered for their totals and what they held. */
const MAX_DONORS = 10_000;
/** Experts remembered of all donors together: a donor of a V3 swarm may hold thousands. 8 bytes each make 16 MB. */
const MAX_EXPERTS = 2_000_000;

interface DonorRecord {
  tokensHelped: number;
  held: readonly ExpertIndex[];
}

/** What is known of donors who have left, by the hash of their token; bounded, the least recently seen go first. */
export class DonorRecords {
  readonly #records = new Map<string, DonorRecord>();
  #experts = 0;

  tokensHelped(donorId: string): number {
    return this.#records.get(donorId)?.tokensHelped ?? 0;
  }

  /** What the donor's last tab held: its browser has kept those weights. */
  held(donorId: string): readonly ExpertIndex[] {
    return this.#records.get(donorId)?.held ?? [];
  }

  remember(peer: PeerSession): void {
    const held = peer.assigned.size > 0 ? [...peer.assigned] : this.held(peer.donorId);
    this.#forget(peer.donorId);
    this.#records.set(peer.donorId, { tokensHelped: peer.tokensHelpedBefore + peer.tokensHelped, held });
    this.#experts += held.length;
    for (const oldest of this.#records.keys()) {
      if (this.#records.size <= MAX_DONORS && this.#experts <= MAX_EXPERTS) break;
      this.#forget(oldest);
    }
  }

  #forget(donorId: string): void {
    this.#experts -= this.held(donorId).length;
    this.#records.delete(donorId);
  }
}
