import { Contribution } from '../contribution/contribution.tsx';
import { DEVICE_WORD } from '../device.ts';
import type { DonorSession } from '../donor-session.ts';
import { formatBytes, formatCount, formatDuration } from '../format.ts';
import { fetchedText } from './fetched-text.ts';
import { Figure } from './figure.tsx';
import { KeptWeights } from './kept-weights.tsx';

export function FinishedView({ session }: { session: DonorSession }) {
  const { visit, pledgeBytes, keptBytes, device, exchangeMbit } = session.state.value;
  const { startedMs = 0, endedMs = startedMs } = visit;
  const elsewhere = fetchedText(visit);
  const seconds = (endedMs - startedMs) / 1000;
  return (
    <>
      <h1>Thank you.</h1>
      <section class="card" aria-label="This visit">
        <dl class="figures">
          <Figure name="Tokens" value={formatCount(visit.tokensHelped)}>
            that you helped compute
          </Figure>
          <Figure name="Time" value={formatDuration(seconds)} />
          <Figure name="Traffic" value={formatBytes(visit.wireBytes)}>
            {formatBytes(visit.downloadedBytes)} of weights downloaded{elsewhere && ` (${elsewhere})`}
          </Figure>
        </dl>
        <p>Your {DEVICE_WORD[device]} is free again, and the connection is closed.</p>
        <div class="actions">
          <button
            type="button"
            class="primary"
            onClick={() => void session.lend({ device, pledgeBytes, paused: false, exchangeMbit })}
          >
            Lend again
          </button>
          {keptBytes ? (
            <span class="hint">The weights are still cached, so nothing needs to be downloaded.</span>
          ) : null}
        </div>
      </section>
      <Contribution session={session} />
      <KeptWeights session={session} />
    </>
  );
}
