import type { ExpertIndex, PlacementPeer } from '@shoal/placement';
import type { RemoteTab } from '../cluster/tab-board.ts';
import type { TabOrder } from '../cluster/tab-orders.ts';
import { auditShare } from '../trust/audit-share.ts';
import { sameExperts } from './migration.ts';
import { placementTrust, takesPart } from './planned-tab.ts';
import type { GuidedTab } from './rollout.ts';

type SentOrder = Pick<TabOrder, 'number' | 'assigned' | 'target'>;

/**
 * A remote tab as the leader sees it, who decides what it is to hold. Its home has carried out some of the orders; what it serves
 * for certain is what it served then, and no order since has taken away.
 */
export class RemotePlannedTab implements GuidedTab {
  view: RemoteTab;
  /** Of its home, when this leader began to guide it. */
  readonly regime: number;
  assigned: ReadonlySet<ExpertIndex> = new Set();
  live: ReadonlySet<ExpertIndex> = new Set();
  target: Set<ExpertIndex>;
  /** Orders that its home has not carried out yet, as far as is known here. */
  #outstanding: SentOrder[] = [];
  #isTold = false;

  constructor(view: RemoteTab, regime: number) {
    this.view = view;
    this.regime = regime;
    this.target = new Set(view.target);
    this.update(view);
  }

  get peerId(): string {
    return this.view.peerId;
  }

  get donorId(): string {
    return this.view.donorId;
  }

  get maxExperts(): number {
    return this.view.maxExperts;
  }

  get maxExpertsPerLayer(): number {
    return this.view.maxExpertsPerLayer;
  }

  get takesPart(): boolean {
    return takesPart(this.view);
  }

  get doubtful(): boolean {
    return this.view.doubtful && this.#outstanding.length === 0;
  }

  get kept(): readonly ExpertIndex[] {
    return this.view.kept;
  }

  get measured(): PlacementPeer {
    const { peerId, donorId, pledgeBytes, maxExpertsPerLayer, rttMs, assignmentsPerSecond, trust, share } = this.view;
    const audited = trust.phase === 'trusted' ? auditShare(trust.consecutiveRight) : 1;
    return {
      peerId,
      donorId,
      pledgeBytes,
      maxExpertsPerLayer,
      ...(rttMs !== undefined && { rttMs }),
      ...(assignmentsPerSecond !== undefined && { assignmentsPerSecond }),
      share,
      trust: placementTrust(audited),
    };
  }

  /** Its home has published it again. */
  update(view: RemoteTab): void {
    this.view = view;
    this.#outstanding = this.#outstanding.filter(({ number }) => number > view.order);
    this.assigned = this.#outstanding.at(-1)?.assigned ?? view.assigned;
    this.live = new Set(view.live);
    for (const { assigned } of this.#outstanding) this.#keepOnly(assigned);
  }

  assign(experts: Set<ExpertIndex>): void {
    this.assigned = experts;
    this.#keepOnly(experts);
  }

  /** The order that its home lacks; undefined if it has all that was decided. `mayRepeat`: the first one is sent in any case. */
  order(number: number, mayRepeat: boolean): TabOrder | undefined {
    const { assigned, target, regime, view, peerId } = this;
    const known = this.#outstanding.at(-1) ?? view;
    const isNews = !sameExperts(known.assigned, assigned) || !sameExperts(known.target, target);
    if (!isNews && (this.#isTold || !mayRepeat)) return undefined;
    this.#isTold = true;
    this.#outstanding.push({ number, assigned, target });
    return { number, assigned, target, home: view.home, regime, peerId };
  }

  #keepOnly(experts: ReadonlySet<ExpertIndex>): void {
    this.live = new Set([...this.live].filter((expert) => experts.has(expert)));
  }
}
