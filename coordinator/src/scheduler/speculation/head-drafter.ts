import type { HeadEngine } from '@shoal/model';
import { DFlashEngine } from './dflash-engine.ts';
import type { DraftEngine } from './drafter.ts';
import { Eagle3Engine } from './eagle3-engine.ts';

/** What drafts with a head, by its kind. */
export function headDrafter(head: HeadEngine): DraftEngine {
  const { kind } = head.config.head;
  switch (kind) {
    case 'eagle3':
      return new Eagle3Engine(head);
    case 'dflash':
      return new DFlashEngine(head);
    default:
      return kind satisfies never;
  }
}
