import type { DonorSession } from '../donor-session.ts';
import { formatBytes } from '../format.ts';

/** The weights in the browser's storage, with a button to delete them. */
export function KeptWeights({ session }: { session: DonorSession }) {
  const { keptBytes, cacheFailure } = session.state.value;
  if (cacheFailure) {
    const reason =
      cacheFailure === 'quota'
        ? 'The browser’s storage for this page is full'
        : 'This browser doesn’t give the page any storage';
    return <p class="kept">{reason}, so weights will have to be downloaded again on your next visit.</p>;
  }
  if (!keptBytes) return <p class="kept">No weights are cached in this browser.</p>;
  return (
    <p class="kept">
      <span>{formatBytes(keptBytes)} of weights are cached in this browser for your next visit.</span>
      <button type="button" class="quiet" onClick={() => void session.deleteKeptWeights()}>
        Delete cached weights ({formatBytes(keptBytes)})
      </button>
    </p>
  );
}
