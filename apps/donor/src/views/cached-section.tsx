import type { DonorSession } from '../donor-session.ts';
import { KeptWeights } from './kept-weights.tsx';

/** What stays in the browser after the visit. */
export function Cached({ session }: { session: DonorSession }) {
  return (
    <details class="card limits">
      <summary>Cached weights</summary>
      <KeptWeights session={session} />
    </details>
  );
}
