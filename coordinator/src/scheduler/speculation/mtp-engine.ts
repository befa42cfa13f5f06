import type { ExpertDispatch, ForwardEngine, ForwardResult, SequenceCache } from '@shoal/model';
import type { BatchOptions } from '../../laps/dispatcher.ts';
import type { BatchEntry } from '../batch/batch.ts';
import type { Sequence } from '../sequence.ts';
import {
  type DraftEngine,
  type DraftResult,
  type DraftRow,
  type DraftsWithin,
  positionsWithHidden,
} from './drafter.ts';
import type { DrafterPosition } from './drafter-stream.ts';

export interface MtpEngineOptions {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  /** 1 if tabs hold the module's experts, else 0. */
  lapsPerDraft: number;
}

/** The model's own multi-token-prediction module (DeepSeek-V3 paper §2.2), applied to its own hidden states for further depths. */
export class MtpEngine implements DraftEngine {
  readonly kind = 'mtp';
  /** DeepSeek-V3's own module is right in 85 to 90 % of first drafts (paper §5.4.3). */
  readonly firstPrior = 0.85;
  readonly lapsPerDraft: number;
  readonly #forward: ForwardEngine;
  readonly #experts: MtpEngineOptions['experts'];

  constructor({ forward, experts, lapsPerDraft }: MtpEngineOptions) {
    this.#forward = forward;
    this.#experts = experts;
    this.lapsPerDraft = lapsPerDraft;
  }

  get kvBytesPerToken(): number {
    return this.#forward.mtpKvBytesPerToken;
  }

  openCache({ pages }: Sequence, length: number): SequenceCache {
    return pages ? this.#forward.mtpSequenceOn(pages, length) : this.#forward.newMtpSequence();
  }

  positionsOf(entry: BatchEntry, { hidden }: ForwardResult): DrafterPosition[] {
    return positionsWithHidden(entry, hidden, this.#forward.config.hiddenSize);
  }

  async forward(rows: readonly DraftRow[], { pass, observe }: DraftsWithin): Promise<DraftResult> {
    return this.#forward.forwardMtp(rows, this.#experts.batch({ pass }), observe);
  }
}
