import type { ConsoleSnapshot, RequestView, WaitView } from '@shoal/protocol';
import { type Tone, ToneIcon } from './peer-state.tsx';
import { Figure, Tile } from '../Figure.tsx';
import { formatDuration, formatMs, formatNumber, plural } from '../format.ts';

const tones: Record<RequestView['state'], Tone> = { queued: 'waiting', prefill: 'working', decode: 'working' };

const WAITS = [
  { key: 'queue', label: 'in the queue' },
  { key: 'firstToken', label: 'to the first token' },
  { key: 'betweenTokens', label: 'between tokens' },
] as const;

const NUMERIC_COLUMNS = ['Prompt tokens', 'Written, of maximum', 'Drafts right, of total', 'Age'];

interface RequestsProps {
  requests: RequestView[];
  queued: number;
  waits: ConsoleSnapshot['waits'];
}

export function Requests({ requests, queued, waits }: RequestsProps) {
  const hasSeveral = requests.some(({ coordinator }) => coordinator !== undefined);
  return (
    <section class="card" id="requests" aria-labelledby="requests-title" tabIndex={-1}>
      <h2 id="requests-title">Requests</h2>
      <p class="muted">
        {plural(requests.filter((request) => request.state !== 'queued').length, 'stream')} running,{' '}
        {formatNumber(queued)} in the queue.
      </p>
      <dl class="tiles small">
        {WAITS.map(({ key, label }) => (
          <Tile key={key} label={label}>
            <Wait wait={waits[key]} />
          </Tile>
        ))}
      </dl>
      {requests.length > 0 && (
        <div class="table-scroll" role="group" aria-labelledby="requests-title" tabIndex={0}>
          <table>
            <thead>
              <tr>
                <th scope="col">Request</th>
                {hasSeveral && <th scope="col">Coordinator</th>}
                <th scope="col">State</th>
                {NUMERIC_COLUMNS.map((name) => (
                  <th scope="col" class="numeric">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {requests.map((request) => (
                <tr key={request.id}>
                  <td class="id">{request.id}</td>
                  {hasSeveral && <td>{request.coordinator}</td>}
                  <td>
                    <span class={`state tone-${tones[request.state]}`}>
                      <ToneIcon tone={tones[request.state]} /> {request.state}
                    </span>
                  </td>
                  <td class="numeric">{formatNumber(request.promptTokens)}</td>
                  <td class="numeric">
                    {formatNumber(request.completionTokens)}
                    <span class="of"> of {formatNumber(request.maxTokens)}</span>
                    <span class="track" aria-hidden="true">
                      <span
                        class="bar ours"
                        style={{ width: `${(request.completionTokens / Math.max(1, request.maxTokens)) * 100}%` }}
                      />
                    </span>
                  </td>
                  <td class="numeric">
                    {formatNumber(request.accepted)}
                    <span class="of"> of {formatNumber(request.drafted)}</span>
                  </td>
                  <td class="numeric">{formatDuration(request.ageMs)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Wait({ wait: { p50, p95 } }: { wait: WaitView }) {
  if (p50 === null || p95 === null) return <Figure value={null} format={formatMs} />;
  return (
    <>
      {formatMs(p50)} <span class="of">95 % within {formatMs(p95)}</span>
    </>
  );
}
