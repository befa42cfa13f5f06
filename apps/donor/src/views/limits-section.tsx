import { useState } from 'preact/hooks';
import type { DonorSession } from '../donor-session.ts';
import { formatMemory } from '../format.ts';
import { ExchangeChoice } from './exchange-choice.tsx';
import { limitLines } from '../limits/words.ts';
import { LimitsForm } from './limits-form.tsx';
import { MemorySlider } from './memory-slider.tsx';

/** What the donor allows, which can be changed while lending. */
export function Limits({ session }: { session: DonorSession }) {
  const { pledgeBytes, device, offersTabToTab, exchangeMbit } = session.state.value;
  const [wantedBytes, setWantedBytes] = useState(pledgeBytes);
  const [wantedMbit, setWantedMbit] = useState(exchangeMbit);
  const { limits } = session;
  const lines = limits ? limitLines(limits.state.value, limits.sensors) : [];
  return (
    <details class="card limits">
      <summary>Limits</summary>
      {lines.length > 0 && (
        <ul class="limit-lines">
          {lines.map((line) => (
            <li key={line}>{line}</li>
          ))}
        </ul>
      )}
      {limits && <LimitsForm limits={limits} />}
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
    </details>
  );
}
