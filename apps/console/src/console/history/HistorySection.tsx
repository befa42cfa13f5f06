import type { History, HistoryRange } from '@shoal/protocol';
import { useEffect } from 'preact/hooks';
import { Chart } from '../../Chart.tsx';
import { FigureTable } from '../../FigureTable.tsx';
import { formatBytes, formatDay, formatFigure, NOTHING, plural } from '../../format.ts';
import { fault, history, member, range, READ_MS, readHistory } from './history-state.ts';
import { RANGE_NAMES, SERIES, timeOf } from './series.ts';

/** What happened over the last hours to weeks, of all coordinators or of one. */
export function HistorySection() {
  useEffect(() => {
    void readHistory();
    const timer = setInterval(() => void readHistory(), READ_MS);
    return () => clearInterval(timer);
  }, [range.value, member.value]);
  const read = history.value;
  return (
    <section class="card" id="history" aria-labelledby="history-title" tabIndex={-1}>
      <h2 id="history-title">History</h2>
      <div class="filters">
        <fieldset>
          <legend class="sr">Time</legend>
          {(Object.keys(RANGE_NAMES) as HistoryRange[]).map((one) => (
            <label>
              <input type="radio" name="range" checked={range.value === one} onChange={() => (range.value = one)} />{' '}
              {RANGE_NAMES[one]}
            </label>
          ))}
        </fieldset>
        {read && <Members members={read.members} />}
      </div>
      {fault.value !== null && (
        <p class="trouble" role="status">
          {fault.value} {read ? 'What is shown was read before.' : ''}
        </p>
      )}
      {read ? <Read read={read} /> : fault.value === null && <p class="muted">Reading…</p>}
    </section>
  );
}

function Members({ members }: { members: readonly string[] }) {
  if (members.length < 2 && member.value === '') return null;
  return (
    <label>
      Coordinator{' '}
      <select value={member.value} onChange={(e) => (member.value = e.currentTarget.value)}>
        <option value="">all together</option>
        {[...new Set([...members, ...(member.value === '' ? [] : [member.value])])].map((name) => (
          <option value={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}

function Read({ read }: { read: History }) {
  const { points, fromMs, stepS } = read;
  const gaps = points.filter((point) => point === null).length;
  return (
    <>
      <p class="muted">{totalsText(read)}</p>
      {read.kept === 'process' && (
        <p class="muted">This coordinator keeps nothing (no database), so its history begins when it was started.</p>
      )}
      <div class="history">
        {SERIES.filter(({ isDrawn }) => isDrawn).map(({ name, unit, read: of }) => (
          <div>
            <h3>{name}</h3>
            <Chart
              values={points.map((point) => (point === null ? null : of(point)))}
              unit={unit}
              label={name}
              heightPx={130}
              isCount={unit === 'requests'}
              times={{ fromMs, stepS, name: RANGE_NAMES[read.range].toLowerCase() }}
            />
          </div>
        ))}
      </div>
      {gaps > 0 && (
        <p class="muted">
          Gaps are times in which nothing was measured: the coordinator was not running, or not yet with this version.
        </p>
      )}
      <Table read={read} />
    </>
  );
}

function totalsText({ totals: { sinceMs, tokens, laps, bytes, tabHours, errors } }: History): string {
  if (sinceMs === null) return 'The first figures are there after a minute.';
  const since = formatDay(new Date(sinceMs).toISOString().slice(0, 10));
  return (
    `In all since ${since}: ${plural(tokens, 'token')}, ${plural(laps, 'lap')}, ${formatBytes(bytes)} of laps, ` +
    `${formatFigure(tabHours)} hours of tabs, ${plural(errors, 'failed request')}.`
  );
}

/** The same figures for those who don't see charts, or want to copy them. */
function Table({ read: { points, stepS } }: { read: History }) {
  const known = points.flatMap((point) => (point === null ? [] : [point])).reverse();
  if (known.length === 0) return null;
  return (
    <details>
      <summary>The same as a table ({plural(known.length, 'row')})</summary>
      <FigureTable label="Figures of the history" heads={['Time', ...SERIES.map(({ name }) => name)]}>
        {known.map((point) => (
          <tr key={point.atMs}>
            <th scope="row">{timeOf(point.atMs, stepS)}</th>
            {SERIES.map(({ read, format }) => {
              const value = read(point);
              return <td class="numeric">{value === null ? NOTHING : format(value)}</td>;
            })}
          </tr>
        ))}
      </FigureTable>
    </details>
  );
}
