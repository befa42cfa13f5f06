import { useState } from 'preact/hooks';
import { DEVICE_WORD } from '../device.ts';
import type { DonorSession } from '../donor-session.ts';
import type { DonorState } from '../donor-state.ts';
import { formatBytes, formatCount, formatLayers, formatMemory, formatMs, formatPlural } from '../format.ts';
import { ExchangeChoice } from './exchange-choice.tsx';
import { fetchedText } from './fetched-text.ts';
import { Figure } from './figure.tsx';
import { KeptWeights } from './kept-weights.tsx';
import { MemorySlider } from './memory-slider.tsx';
import { RowsChart } from './rows-chart.tsx';

export function LiveView({ session }: { session: DonorSession }) {
  const state = session.state.value;
  const { phase } = state;
  return (
    <>
      <h1>{headline(state)}</h1>
      <section class="card" aria-label="Work">
        <RowsChart history={state.rowsHistory} />
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
      <Limits session={session} />
    </>
  );
}

function headline({ phase, standing, device }: DonorState): string {
  const held =
    standing && standing.experts > 0
      ? `${formatLayers(standing.layers)} · ${formatPlural(standing.experts, 'expert')}`
      : undefined;
  if (phase === 'paused') return `Paused: your ${DEVICE_WORD[device]} is idle, and the weights stay loaded`;
  if (phase === 'finishing') return 'Finishing the work in progress';
  if (!held) return 'Connected, waiting for experts';
  return phase === 'working' ? `Your tab is computing ${held}` : `Ready to compute ${held}`;
}

function Figures({ state: { standing, stats, visit, adapter, pledgeBytes, device } }: { state: DonorState }) {
  return (
    <dl class="figures">
      <Figure name="Tokens" value={formatCount(visit.tokensHelped)}>
        that you helped compute
        {standing && `; ${formatCount(standing.tokensHelpedTotal)} in total`}
      </Figure>
      <Figure
        name="Verified"
        value={standing?.verifiedShare == null ? '–' : `${Math.round(standing.verifiedShare * 100)} %`}
      >
        of the experts passed the self-test
        {standing && standing.verifiedRows > 0 && `; ${formatCount(standing.verifiedRows)} rows checked and correct`}
      </Figure>
      <Figure name="Round trip" value={standing?.rttMs == null ? '–' : formatMs(standing.rttMs)}>
        {standing?.lapMs != null && `${formatMs(standing.lapMs)} including the work`}
      </Figure>
      <Figure name="Memory in use" value={formatMemory(stats?.allocatedBytes ?? 0)}>
        of {formatMemory(pledgeBytes)} lent
        {device === 'cpu' ? `, on the CPU with ${adapter?.description}` : ''}
        {device === 'gpu' && adapter?.isFallbackAdapter ? ', on the CPU' : ''}
      </Figure>
      <Figure name="Traffic" value={formatBytes(visit.wireBytes)}>
        {trafficText(visit)}
      </Figure>
    </dl>
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

function Limits({ session }: { session: DonorSession }) {
  const { pledgeBytes, device, offersTabToTab, exchangeMbit } = session.state.value;
  const [wantedBytes, setWantedBytes] = useState(pledgeBytes);
  const [wantedMbit, setWantedMbit] = useState(exchangeMbit);
  return (
    <details class="card limits">
      <summary>Limits and cached weights</summary>
      <MemorySlider device={device} pledgeBytes={wantedBytes} onChange={setWantedBytes} />
      <div class="actions">
        <button type="button" disabled={wantedBytes === pledgeBytes} onClick={() => session.changePledge(wantedBytes)}>
          Change to {formatMemory(wantedBytes)}
        </button>
        <span class="hint">The tab rejoins with the new limit. Experts that it still needs stay loaded.</span>
      </div>
      {offersTabToTab && (
        <>
          <ExchangeChoice mbit={wantedMbit} onChange={setWantedMbit} />
          <div class="actions">
            <button
              type="button"
              disabled={wantedMbit === exchangeMbit}
              onClick={() => session.changeExchange(wantedMbit)}
            >
              {wantedMbit === undefined ? 'Stop exchanging' : 'Change'}
            </button>
          </div>
        </>
      )}
      <KeptWeights session={session} />
    </details>
  );
}
