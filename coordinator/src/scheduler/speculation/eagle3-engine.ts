import type { DraftEngine, DraftResult, DraftRow } from './drafter.ts';
import { HeadDraftEngine } from './head-engine.ts';

/** An EAGLE-3 head (Li et al. 2025). */
export class Eagle3Engine extends HeadDraftEngine implements DraftEngine {
  readonly kind = 'eagle3';

  forward(rows: readonly DraftRow[]): Promise<DraftResult> {
    return this.head.forwardEagle3(rows);
  }
}
