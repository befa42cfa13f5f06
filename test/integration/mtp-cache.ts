import type { SequenceCache } from '@shoal/model';
import type { Core } from '../../coordinator/src/index.ts';
import { KvPages } from '../../coordinator/src/engine/kv-pages.ts';

/** The MTP module's cache of a sequence of the test's own, in a core that answers nothing meanwhile: all pages are free. */
export function newMtpCache({ config, forward }: Core): SequenceCache {
  const positions = config.maxPositionEmbeddings;
  const pages = new KvPages({ numPages: Math.ceil(positions / 16), pagePositions: 16 });
  return forward.mtpSequenceOn(pages.open([0], positions)!, 0);
}
