import { DEVICE_WORD } from '../device.ts';
import type { DonorSession } from '../donor-session.ts';
import { formatBytes, formatCount, formatDuration } from '../format.ts';
import { KeptWeights } from './kept-weights.tsx';

export function FinishedView({ session }: { session: DonorSession }) {
  const { visit, standing, pledgeBytes, keptBytes, device } = session.state.value;
  const seconds =
    visit.startedMs === undefined ? 0 : (visit.endedMs ?? visit.startedMs) / 1000 - visit.startedMs / 1000;
  return (
    <>
      <h1>Thank you.</h1>
      <section class="card" aria-label="This visit">
        <dl class="figures">
          <div>
            <dt>Tokens helped</dt>
            <dd>
              <strong>{formatCount(visit.tokensHelped)}</strong>
              <span>{standing && `${formatCount(standing.tokensHelpedTotal)} in total`}</span>
            </dd>
          </div>
          <div>
            <dt>Rows computed</dt>
            <dd>
              <strong>{formatCount(visit.rows)}</strong>
              <span>one per token and layer</span>
            </dd>
          </div>
          <div>
            <dt>Time</dt>
            <dd>
              <strong>{formatDuration(seconds)}</strong>
            </dd>
          </div>
          <div>
            <dt>Traffic</dt>
            <dd>
              <strong>{formatBytes(visit.wireBytes)}</strong>
              <span>{formatBytes(visit.downloadedBytes)} of weights downloaded</span>
            </dd>
          </div>
        </dl>
        <p>Your {DEVICE_WORD[device]} is free again, and the connection is closed.</p>
        <div class="actions">
          <button
            type="button"
            class="primary"
            onClick={() => void session.lend({ device, pledgeBytes, paused: false })}
          >
            Lend again
          </button>
          {keptBytes ? (
            <span class="hint">The weights are still cached, so nothing needs to be downloaded.</span>
          ) : null}
        </div>
      </section>
      <KeptWeights session={session} />
    </>
  );
}
