import { useSignal } from '@preact/signals';
import type { ConsoleEvent } from '@shoal/protocol';
import { download } from '../environment.ts';
import { formatClock, plural } from '../format.ts';
import { type EventFilter, eventsToCsv, eventsToJson, filterEvents, keyOf } from './event-log.ts';
import { pageOf } from '../table/paging.ts';
import { Pages } from '../table/TableBar.tsx';
import { type Tone, ToneIcon } from './peer-state.tsx';

const levels: EventFilter['level'][] = ['all', 'info', 'warning', 'error'];
const kinds: EventFilter['kind'][] = ['all', 'peer', 'placement', 'lap', 'request', 'server'];
const levelTones: Record<ConsoleEvent['level'], Tone> = { info: 'working', warning: 'waiting', error: 'trouble' };

const exports = [
  { name: 'Export JSON', file: 'shoal-events.json', type: 'application/json', write: eventsToJson },
  { name: 'Export CSV', file: 'shoal-events.csv', type: 'text/csv', write: eventsToCsv },
];

/** The newest come first. */
const ROWS = 50;

export function EventLog({ events }: { events: ConsoleEvent[] }) {
  const filter = useSignal<EventFilter>({ level: 'all', kind: 'all', text: '' });
  const page = useSignal(0);
  const found = filterEvents(events, filter.value);
  const shown = pageOf(found.toReversed(), page.value, ROWS);
  const set = (change: Partial<EventFilter>): void => {
    filter.value = { ...filter.value, ...change };
    page.value = 0;
  };
  return (
    <section class="card" id="events" aria-labelledby="events-title" tabIndex={-1}>
      <h2 id="events-title">Events</h2>
      <div class="filters">
        <Select name="Level" value={filter.value.level} options={levels} onChange={(level) => set({ level })} />
        <Select name="Kind" value={filter.value.kind} options={kinds} onChange={(kind) => set({ kind })} />
        <label>
          Search{' '}
          <input
            type="search"
            value={filter.value.text}
            maxLength={200}
            onInput={(e) => set({ text: e.currentTarget.value })}
          />
        </label>
        <span class="push" role="status">
          {found.length === events.length
            ? plural(events.length, 'event')
            : `${found.length} of ${events.length} events`}
        </span>
        {exports.map(({ name, file, type, write }) => (
          <button type="button" disabled={found.length === 0} onClick={() => download(file, type, write(found))}>
            {name}
          </button>
        ))}
      </div>
      {found.length === 0 ? (
        <p class="muted empty">{events.length === 0 ? 'No events yet.' : 'No events match this filter.'}</p>
      ) : (
        <div class="log" role="group" aria-labelledby="events-title" tabIndex={0}>
          <EventRows events={shown.rows.toReversed()} />
        </div>
      )}
      <Pages noun="events" shown={shown} page={page} />
    </section>
  );
}

interface SelectProps<T extends string> {
  name: string;
  value: T;
  options: readonly T[];
  onChange: (value: T) => void;
}

function Select<T extends string>({ name, value, options, onChange }: SelectProps<T>) {
  return (
    <label>
      {name}{' '}
      <select value={value} onChange={(e) => onChange(e.currentTarget.value as T)}>
        {options.map((option) => (
          <option value={option}>{option}</option>
        ))}
      </select>
    </label>
  );
}

/** Newest first, since that is what an operator looks for. */
export function EventRows({ events }: { events: ConsoleEvent[] }) {
  const hasSeveral = new Set(events.map(({ coordinator }) => coordinator)).size > 1;
  return (
    <ol class="events" reversed>
      {[...events].reverse().map((event) => (
        <li key={keyOf(event)}>
          <time dateTime={new Date(event.timeMs).toISOString()}>{formatClock(event.timeMs)}</time>
          <span class={`level tone-${levelTones[event.level]}`}>
            <ToneIcon tone={levelTones[event.level]} /> {event.level}
          </span>
          <span class="kind">{event.kind}</span>
          <span class="text">
            {hasSeveral && event.coordinator !== undefined && <span class="of">{event.coordinator}: </span>}
            {event.text}
          </span>
        </li>
      ))}
    </ol>
  );
}
