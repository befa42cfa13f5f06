import type { SequenceCache } from '@shoal/model';
import type { Core } from '../../coordinator/src/index.ts';
import { KvPages } from '../../coordinator/src/scheduler/kv/kv-pages.ts';
import type { PagedSequence } from '../../coordinator/src/scheduler/kv/paged-sequence.ts';

const PAGE_POSITIONS = 16;

/** Pages for the test's own sequence, in a core that is idle meanwhile: all are free. */
export function newPages({ config }: Core): PagedSequence {
  const positions = config.maxPositionEmbeddings;
  const pages = new KvPages({ numPages: Math.ceil(positions / PAGE_POSITIONS), pagePositions: PAGE_POSITIONS });
  return pages.open([0], positions)!;
}

/** The MTP module's cache of such a sequence. */
export function newMtpCache(core: Core): SequenceCache {
  return core.forward.mtpSequenceOn(newPages(core), 0);
}
