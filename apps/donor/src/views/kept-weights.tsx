import type { DonorSession } from '../donor-session.ts';
import { formatBytes } from '../format.ts';

/** What the browser keeps on disk for the next visit, and the way to be rid of it. */
export function KeptWeights({ session }: { session: DonorSession }) {
  const { keptBytes, cacheFailure } = session.state.value;
  if (cacheFailure) {
    const reason =
      cacheFailure === 'quota'
        ? 'The browser’s storage for this page is full'
        : 'This browser lends the page no storage';
    return <p class="kept">{reason}: the next visit downloads again what could not be kept.</p>;
  }
  if (!keptBytes) return <p class="kept">No weights are kept in this browser.</p>;
  return (
    <p class="kept">
      <span>{formatBytes(keptBytes)} of weights are kept in this browser for the next visit.</span>
      <button type="button" class="quiet" onClick={() => void session.deleteKeptWeights()}>
        Delete cached weights ({formatBytes(keptBytes)})
      </button>
    </p>
  );
}
