import type { DonorSession } from '../donor-session.ts';
import type { DonorState } from '../donor-state.ts';
import { formatBytes, formatMemory, formatMs, formatPlural } from '../format.ts';
import { fetchedText } from './fetched-text.ts';
import { Figure } from './figure.tsx';
import { TokensChart } from './tokens-chart.tsx';

/** What the tab does now, and the buttons to pause and to end it. */
export function Work({ session }: { session: DonorSession }) {
  const state = session.state.value;
  const { phase } = state;
  return (
    <section class="card" aria-label="Work">
      <TokensChart history={state.tokensHistory} />
      <Figures state={state} />
      <Notes state={state} />
      <div class="actions">
        {phase === 'paused' ? (
          <button type="button" class="primary" onClick={() => session.resume()}>
            Resume
          </button>
        ) : (
          <button type="button" disabled={phase === 'finishing'} onClick={() => session.pause()}>
            Pause
          </button>
        )}
        {phase === 'finishing' ? (
          <button type="button" onClick={() => session.stop()}>
            Stop now
          </button>
        ) : (
          <button type="button" onClick={() => session.finish()}>
            Finish, then stop
          </button>
        )}
      </div>
    </section>
  );
}

function Figures({
  state: { standing, stats, visit, adapter, pledgeBytes, lentBytes, sharingTabs, device },
}: {
  state: DonorState;
}) {
  return (
    <dl class="figures">
      <Answering standing={standing} />
      <Figure name="Memory in use" value={formatMemory(stats?.allocatedBytes ?? 0)}>
        of {formatMemory(lentBytes)} lent
        {sharingTabs > 1 ? `; ${sharingTabs} tabs of this browser share ${formatMemory(pledgeBytes)}` : ''}
        {device === 'cpu' ? `, on the CPU with ${adapter?.description}` : ''}
        {device === 'gpu' && adapter?.isFallbackAdapter ? ', on the CPU' : ''}
      </Figure>
      <Figure name="Traffic" value={formatBytes(visit.wireBytes)}>
        {trafficText(visit)}
      </Figure>
    </dl>
  );
}

/** The ping was measured at another time than the work, maybe a busier one, so the two don't stand beside each other. */
function Answering({ standing }: Pick<DonorState, 'standing'>) {
  const { lapMs, rttMs } = standing ?? {};
  if (lapMs != null) {
    return (
      <Figure name="Answers in" value={formatMs(lapMs)}>
        from the coordinator and back, with the work
      </Figure>
    );
  }
  return (
    <Figure name="Distance" value={rttMs == null ? '–' : formatMs(rttMs)}>
      to the coordinator and back
    </Figure>
  );
}

function trafficText(visit: DonorState['visit']): string {
  const { startedMs, wireBytes, downloadedBytes } = visit;
  const hours = startedMs === undefined ? 0 : (performance.now() - startedMs) / 3_600_000;
  const elsewhere = fetchedText(visit);
  const downloaded = `${formatBytes(downloadedBytes)} of weights downloaded${elsewhere && ` (${elsewhere})`}`;
  // An hourly rate from less than a minute means nothing.
  return hours < 1 / 60 ? downloaded : `about ${formatBytes(wireBytes / hours)} per hour; ${downloaded}`;
}

function Notes({ state: { standing, download, relayed, stats } }: { state: DonorState }) {
  const loading = standing?.phase === 'loading' && download;
  return (
    <>
      {loading && (
        <p class="note">
          Loading more experts: {formatBytes(download.doneBytes)} of {formatBytes(download.totalBytes)}.
        </p>
      )}
      {relayed && (
        <p class="note">
          This browser can’t transfer the connection to the worker, so the work passes through the page.
        </p>
      )}
      {stats && stats.coordinators > 1 && <p class="note">Answers for {stats.coordinators} coordinators.</p>}
      {stats && stats.malformed > 0 && (
        <p class="note">{formatPlural(stats.malformed, 'message')} from a coordinator couldn’t be read.</p>
      )}
    </>
  );
}
