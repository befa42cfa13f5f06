import { type Signal, useSignal } from '@preact/signals';
import type { ConsoleEvent, ConsoleSnapshot, PeerView } from '@shoal/protocol';
import type { ComponentChildren } from 'preact';
import { Figure } from '../Figure.tsx';
import { formatDuration, formatFigure, formatMemory, formatMs, formatRanges, formatShare, plural } from '../format.ts';
import { PeerPanel } from './PeerPanel.tsx';
import { limitWords, stateWord, ToneIcon, toneOf } from './peer-state.tsx';
import type { Cell } from './map-layout.ts';
import { nextOrder, type Order, type PeerColumn, sortPeers } from './sort.ts';

const allColumns: { id: PeerColumn; name: string; numeric?: boolean; title?: string }[] = [
  { id: 'peerId', name: 'Tab' },
  { id: 'coordinator', name: 'Coordinator', title: 'The one that it signals with' },
  { id: 'state', name: 'State' },
  { id: 'adapter', name: 'Adapter' },
  { id: 'address', name: 'Address' },
  { id: 'memory', name: 'Memory', numeric: true, title: 'In use, out of what is lent' },
  { id: 'experts', name: 'Experts', numeric: true },
  { id: 'rowsPerSecond', name: 'Rows/s', numeric: true },
  { id: 'lapMsP50', name: 'Lap p50', numeric: true, title: 'Median lap time' },
  { id: 'lapMsP95', name: 'Lap p95', numeric: true, title: '95 % of the laps were at least this fast' },
  { id: 'rttMs', name: 'RTT', numeric: true, title: 'Round-trip time of heartbeats' },
  { id: 'lossShare', name: 'Loss', numeric: true, title: 'Share of laps that failed or missed their deadline' },
  { id: 'workShare', name: 'Work', numeric: true, title: 'Share of all expert work since the coordinator started' },
  { id: 'auditShare', name: 'Audited', numeric: true, title: 'Share of its rows that the coordinator recomputes' },
  { id: 'sinceMs', name: 'Connected', numeric: true },
];

/** The coordinator of a tab is shown where there are several. */
function columnsOf({ coordinators }: ConsoleSnapshot): typeof allColumns {
  return allColumns.filter(({ id }) => id !== 'coordinator' || coordinators !== undefined);
}

export function Peers(props: { now: ConsoleSnapshot; events: ConsoleEvent[]; cell: Signal<Cell | null> }) {
  const { now, cell } = props;
  const order = useSignal<Order>({ column: 'peerId', direction: 'ascending' });
  const open = useSignal<ReadonlySet<string>>(new Set());
  const result = useSignal<{ ok: boolean; text: string } | null>(null);

  const columns = columnsOf(now);
  const holders = cell.value ? holdersOf(now, cell.value) : null;
  const shown = sortPeers(holders ? now.peers.filter((peer) => holders.has(peer.peerId)) : now.peers, order.value);
  const toggle = (peerId: string): void => {
    const next = new Set(open.value);
    if (!next.delete(peerId)) next.add(peerId);
    open.value = next;
  };

  return (
    <section class="card" id="peers" aria-labelledby="peers-title" tabIndex={-1}>
      <h2 id="peers-title">Tabs</h2>
      <div role="status" class="status-line">
        {cell.value && (
          <p>
            Showing {plural(shown.length, 'tab')} with expert {cell.value.expert} of layer{' '}
            {now.placement.layers[cell.value.layer]}.{' '}
            <button type="button" onClick={() => (cell.value = null)}>
              Show all {now.peers.length}
            </button>
          </p>
        )}
        {result.value && <p class={result.value.ok ? '' : 'trouble'}>{result.value.text}</p>}
      </div>
      {shown.length === 0 ? (
        <p class="muted empty">
          {holders
            ? 'No tab holds this expert, so the coordinator computes it.'
            : 'No tab is connected. The coordinator answers on its own, which is slower. Open the donor page to lend it a GPU.'}
        </p>
      ) : (
        <div class="table-scroll" role="group" aria-labelledby="peers-title" tabIndex={0}>
          <table class="peers" role="table">
            <thead role="rowgroup">
              <tr role="row">
                {columns.map((column) => (
                  <Heading column={column} order={order} />
                ))}
              </tr>
            </thead>
            <tbody role="rowgroup">
              {shown.map((peer) => (
                <PeerRows
                  key={peer.peerId}
                  peer={peer}
                  columns={columns}
                  nowMs={now.nowMs}
                  open={open.value.has(peer.peerId)}
                  events={props.events}
                  onToggle={() => toggle(peer.peerId)}
                  onResult={(ok, text) => (result.value = { ok, text })}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function holdersOf(now: ConsoleSnapshot, cell: Cell): Set<string | undefined> {
  const indices = now.placement.holders[cell.layer]?.[cell.expert] ?? [];
  return new Set(indices.map((index) => now.placement.peerIds[index]));
}

function Heading({ column, order }: { column: (typeof allColumns)[number]; order: Signal<Order> }) {
  const sorted = order.value.column === column.id ? order.value.direction : undefined;
  return (
    <th role="columnheader" scope="col" aria-sort={sorted ?? 'none'} class={column.numeric ? 'numeric' : ''}>
      <button type="button" title={column.title} onClick={() => (order.value = nextOrder(order.value, column.id))}>
        {column.name}
        <span class="arrow" aria-hidden="true">
          {sorted === 'ascending' ? '▲' : sorted === 'descending' ? '▼' : ''}
        </span>
      </button>
    </th>
  );
}

interface RowProps {
  peer: PeerView;
  columns: typeof allColumns;
  nowMs: number;
  open: boolean;
  events: ConsoleEvent[];
  onToggle: () => void;
  onResult: (ok: boolean, text: string) => void;
}

function PeerRows({ peer, columns, nowMs, open, events, onToggle, onResult }: RowProps) {
  const tone = toneOf(peer);
  const noLap = 'No lap answered yet';
  const cells: Record<PeerColumn, ComponentChildren> = {
    peerId: (
      <button type="button" class="disclose" aria-expanded={open} onClick={onToggle} title={peer.peerId}>
        <span class="arrow" aria-hidden="true">
          {open ? '▾' : '▸'}
        </span>
        <span class="id">{peer.peerId}</span>
      </button>
    ),
    coordinator: peer.coordinator,
    state: (
      <span class={`state tone-${tone}`}>
        <ToneIcon tone={tone} /> {stateWord(peer)}
        {peer.note !== undefined && <span class="note">{peer.note}</span>}
        {limitWords(peer) !== undefined && <span class="detail">{limitWords(peer)}</span>}
      </span>
    ),
    adapter: peer.adapter,
    address: peer.address,
    memory: (
      <>
        {formatMemory(peer.allocatedBytes)}
        <span class="of"> of {formatMemory(peer.pledgeBytes)}</span>
        <span class="track" aria-hidden="true">
          <span class="bar ours" style={{ width: `${fill(peer.allocatedBytes, peer.pledgeBytes)}%` }} />
        </span>
      </>
    ),
    experts: (
      <>
        {peer.experts}
        {peer.layers.length > 0 && (
          <span class="of">
            {' '}
            in {peer.layers.length === 1 ? 'layer' : 'layers'} {formatRanges(peer.layers)}
          </span>
        )}
      </>
    ),
    rowsPerSecond: formatFigure(peer.rowsPerSecond),
    lapMsP50: <Figure value={peer.lapMsP50} format={formatMs} why={noLap} />,
    lapMsP95: <Figure value={peer.lapMsP95} format={formatMs} why={noLap} />,
    rttMs: <Figure value={peer.rttMs} format={formatMs} why="No heartbeat answered yet" />,
    lossShare: formatShare(peer.lossShare),
    workShare: formatShare(peer.workShare),
    auditShare: (
      <>
        {formatShare(peer.trust.auditShare)}
        {peer.trust.phase !== 'trusted' && <span class="of"> {trustWords[peer.trust.phase]}</span>}
      </>
    ),
    sinceMs: formatDuration(nowMs - peer.sinceMs),
  };
  return (
    <>
      <tr role="row" class={open ? 'open' : ''}>
        {columns.map((column) => (
          <td role="cell" data-label={column.name} data-column={column.id} class={column.numeric ? 'numeric' : ''}>
            {cells[column.id]}
          </td>
        ))}
      </tr>
      {open && (
        <tr role="row" class="panel">
          <td role="cell" colSpan={columns.length}>
            <PeerPanel peer={peer} events={events} onResult={onResult} />
          </td>
        </tr>
      )}
    </>
  );
}

const trustWords = { probation: 'on probation', quarantined: 'wrong results' };

const fill = (part: number, whole: number): number => (whole > 0 ? Math.min(100, (part / whole) * 100) : 0);
