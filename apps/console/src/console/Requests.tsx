import { useSignal } from '@preact/signals';
import type { ConsoleSnapshot, RequestView, WaitView } from '@shoal/protocol';
import type { ComponentChildren } from 'preact';
import { useRef } from 'preact/hooks';
import { ConfirmDialog } from '../ConfirmDialog.tsx';
import { Figure, Tile } from '../Figure.tsx';
import { formatDuration, formatMs, formatNumber, plural } from '../format.ts';
import { pageOf, search, type SortOrder, sortRows } from '../table/paging.ts';
import { SortHeading } from '../table/SortHeading.tsx';
import { TableBar } from '../table/TableBar.tsx';
import { command, role } from './connection.ts';
import { type Tone, ToneIcon } from './peer-state.tsx';

const tones: Record<RequestView['state'], Tone> = {
  queued: 'waiting',
  prefill: 'working',
  decode: 'working',
  finished: 'away',
  failed: 'trouble',
  cancelled: 'waiting',
};
const words: Record<RequestView['state'], string> = {
  queued: 'queued',
  prefill: 'reading',
  decode: 'writing',
  finished: 'finished',
  failed: 'failed',
  cancelled: 'cancelled',
};

const WAITS = [
  { key: 'queue', label: 'in the queue' },
  { key: 'firstToken', label: 'to the first token' },
  { key: 'betweenTokens', label: 'between tokens' },
] as const;

const ROWS = 20;

type Column = 'id' | 'client' | 'coordinator' | 'state' | 'prompt' | 'written' | 'first' | 'drafts' | 'age';
interface ColumnSpec {
  id: Column;
  name: string;
  title?: string;
  isNumeric?: boolean;
  key: (request: RequestView) => string | number | null;
  cell: (request: RequestView) => ComponentChildren;
}

const COLUMNS: readonly ColumnSpec[] = [
  { id: 'id', name: 'Request', key: ({ id }) => id, cell: ({ id }) => <span class="id">{id}</span> },
  {
    id: 'client',
    name: 'Client',
    title: 'Its API key, or the address where none is required',
    key: ({ client }) => client,
    cell: ({ client, model }) => (
      <>
        {client === '' ? <span class="muted">unknown</span> : client}
        <span class="of"> {model}</span>
      </>
    ),
  },
  {
    id: 'coordinator',
    name: 'Coordinator',
    key: ({ coordinator }) => coordinator ?? null,
    cell: ({ coordinator }) => coordinator,
  },
  { id: 'state', name: 'State', key: ({ state }) => words[state], cell: (request) => <State request={request} /> },
  {
    id: 'prompt',
    name: 'Prompt tokens',
    isNumeric: true,
    key: ({ promptTokens }) => promptTokens,
    cell: ({ promptTokens }) => formatNumber(promptTokens),
  },
  {
    id: 'written',
    name: 'Written, of maximum',
    isNumeric: true,
    key: ({ completionTokens }) => completionTokens,
    cell: ({ completionTokens, maxTokens }) => (
      <>
        {formatNumber(completionTokens)}
        <span class="of"> of {formatNumber(maxTokens)}</span>
        <span class="track" aria-hidden="true">
          <span class="bar ours" style={{ width: `${(completionTokens / Math.max(1, maxTokens)) * 100}%` }} />
        </span>
      </>
    ),
  },
  {
    id: 'first',
    name: 'First token',
    title: 'From its submission on',
    isNumeric: true,
    key: ({ firstTokenMs }) => firstTokenMs,
    cell: ({ firstTokenMs }) => <Figure value={firstTokenMs} format={formatMs} why="No token yet" />,
  },
  {
    id: 'drafts',
    name: 'Drafts right, of total',
    isNumeric: true,
    key: ({ accepted }) => accepted,
    cell: ({ accepted, drafted }) => (
      <>
        {formatNumber(accepted)}
        <span class="of"> of {formatNumber(drafted)}</span>
      </>
    ),
  },
  {
    id: 'age',
    name: 'Age',
    isNumeric: true,
    key: ({ ageMs, endedAgoMs }) => ageMs + (endedAgoMs ?? 0),
    cell: ({ ageMs, endedAgoMs }) => (
      <>
        {formatDuration(ageMs)}
        {endedAgoMs !== null && <span class="of">, ended {formatDuration(endedAgoMs)} ago</span>}
      </>
    ),
  },
];

interface RequestsProps {
  requests: RequestView[];
  queued: number;
  waits: ConsoleSnapshot['waits'];
}

export function Requests({ requests, queued, waits }: RequestsProps) {
  const running = requests.filter(({ state }) => state === 'prefill' || state === 'decode').length;
  const result = useSignal<{ ok: boolean; text: string } | null>(null);
  return (
    <section class="card" id="requests" aria-labelledby="requests-title" tabIndex={-1}>
      <h2 id="requests-title">Requests</h2>
      <p class="muted">
        {plural(running, 'stream')} running, {formatNumber(queued)} in the queue. Those that ended are listed for a
        quarter of an hour.
      </p>
      <dl class="tiles small">
        {WAITS.map(({ key, label }) => (
          <Tile key={key} label={label}>
            <Wait wait={waits[key]} />
          </Tile>
        ))}
      </dl>
      <div role="status" class="status-line">
        {result.value && <p class={result.value.ok ? '' : 'trouble'}>{result.value.text}</p>}
      </div>
      {requests.length > 0 && (
        <RequestTable requests={requests} onResult={(ok, text) => (result.value = { ok, text })} />
      )}
    </section>
  );
}

interface TableProps {
  requests: readonly RequestView[];
  onResult: (ok: boolean, text: string) => void;
}

function RequestTable({ requests, onResult }: TableProps) {
  const view = { search: useSignal(''), page: useSignal(0) };
  // Those under way first, as they come.
  const order = useSignal<SortOrder<Column> | null>(null);
  const hasSeveral = requests.some(({ coordinator }) => coordinator !== undefined);
  const columns = COLUMNS.filter(({ id }) => id !== 'coordinator' || hasSeveral);
  const found = search(requests, view.search.value, textOf);
  const sorted = order.value && COLUMNS.find(({ id }) => id === order.value?.column);
  const rows = sorted ? sortRows(found, sorted.key, order.value!.direction) : found;
  const shown = pageOf(rows, view.page.value, ROWS);
  const canCancel = role.value?.role !== 'viewer';
  return (
    <>
      <TableBar view={view} noun="requests" shown={shown} found={found.length} all={requests.length} />
      <div class="table-scroll" role="group" aria-labelledby="requests-title" tabIndex={0}>
        <table class="cards requests" role="table">
          <thead role="rowgroup">
            <tr role="row">
              {columns.map(({ id, name, title, isNumeric }) => (
                <SortHeading key={id} {...{ id, name, title, isNumeric, order }} />
              ))}
              {canCancel && (
                <th scope="col" role="columnheader">
                  Cancel
                </th>
              )}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {shown.rows.map((request) => (
              <tr key={request.id} role="row">
                {columns.map(({ id, name, isNumeric, cell }) => (
                  <td key={id} role="cell" data-label={name} class={isNumeric ? 'numeric' : undefined}>
                    {cell(request)}
                  </td>
                ))}
                {canCancel && (
                  <td role="cell">{request.endedAgoMs === null && <Cancel id={request.id} onResult={onResult} />}</td>
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

const textOf = ({ id, client, model, state, reason = '', coordinator = '' }: RequestView): string =>
  `${id} ${client} ${model} ${words[state]} ${reason} ${coordinator}`;

function State({ request: { state, reason } }: { request: RequestView }) {
  return (
    <span class={`state tone-${tones[state]}`}>
      <ToneIcon tone={tones[state]} /> {words[state]}
      {reason !== undefined && <span class="note">{reason}</span>}
    </span>
  );
}

function Cancel({ id, onResult }: { id: string; onResult: TableProps['onResult'] }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const send = async (): Promise<void> => {
    const reply = await command({ command: 'cancel-request', id });
    onResult(reply.ok, reply.ok ? `${id} was cancelled.` : reply.message);
  };
  return (
    <>
      <button type="button" aria-label={`Cancel ${id}…`} onClick={() => dialog.current?.showModal()}>
        Cancel…
      </button>
      <ConfirmDialog dialog={dialog} title={`Cancel ${id}?`} action="Cancel it" onConfirm={() => void send()}>
        Its client gets an error that says so, and no more of the answer. Other requests go on.
      </ConfirmDialog>
    </>
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
