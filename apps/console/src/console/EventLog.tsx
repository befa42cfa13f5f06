import { useSignal } from '@preact/signals';
import type { ConsoleEvent } from '@shoal/protocol';
import { download } from '../environment.ts';
import { formatClock, plural } from '../format.ts';
import { type EventFilter, eventsToCsv, eventsToJson, filterEvents } from './event-log.ts';
import { type Tone, ToneIcon } from './peer-state.tsx';

const levels: EventFilter['level'][] = ['all', 'info', 'warning', 'error'];
const kinds: EventFilter['kind'][] = ['all', 'peer', 'placement', 'lap', 'request', 'server'];
const levelTones: Record<ConsoleEvent['level'], Tone> = { info: 'working', warning: 'waiting', error: 'trouble' };

/** More rows would only make the page slow; the export has them all. */
const ROWS_SHOWN = 300;

export function EventLog({ events }: { events: ConsoleEvent[] }) {
  const filter = useSignal<EventFilter>({ level: 'all', kind: 'all', text: '' });
  const found = filterEvents(events, filter.value);
  const set = (change: Partial<EventFilter>): void => {
    filter.value = { ...filter.value, ...change };
  };
  return (
    <section class="card" id="events" aria-labelledby="events-title" tabIndex={-1}>
      <h2 id="events-title">Events</h2>
      <div class="filters">
        <label>
          Level{' '}
          <select
            value={filter.value.level}
            onChange={(e) => set({ level: e.currentTarget.value as EventFilter['level'] })}
          >
            {levels.map((level) => (
              <option value={level}>{level}</option>
            ))}
          </select>
        </label>
        <label>
          Kind{' '}
          <select
            value={filter.value.kind}
            onChange={(e) => set({ kind: e.currentTarget.value as EventFilter['kind'] })}
          >
            {kinds.map((kind) => (
              <option value={kind}>{kind}</option>
            ))}
          </select>
        </label>
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
        <button
          type="button"
          disabled={found.length === 0}
          onClick={() => download('shoal-events.json', 'application/json', eventsToJson(found))}
        >
          Export JSON
        </button>
        <button
          type="button"
          disabled={found.length === 0}
          onClick={() => download('shoal-events.csv', 'text/csv', eventsToCsv(found))}
        >
          Export CSV
        </button>
      </div>
      {found.length === 0 ? (
        <p class="muted empty">{events.length === 0 ? 'No events yet.' : 'No events match this filter.'}</p>
      ) : (
        <div class="log" role="group" aria-labelledby="events-title" tabIndex={0}>
          <EventRows events={found.slice(-ROWS_SHOWN)} />
          {found.length > ROWS_SHOWN && (
            <p class="muted">
              Showing the newest {ROWS_SHOWN}; the export has all {found.length}.
            </p>
          )}
        </div>
      )}
    </section>
  );
}

/** Newest first, since that is what an operator looks for. */
export function EventRows({ events }: { events: ConsoleEvent[] }) {
  return (
    <ol class="events" reversed>
      {[...events].reverse().map((event) => (
        <li key={`${event.timeMs}:${event.seq}`}>
          <time dateTime={new Date(event.timeMs).toISOString()}>{formatClock(event.timeMs)}</time>
          <span class={`level tone-${levelTones[event.level]}`}>
            <ToneIcon tone={levelTones[event.level]} /> {event.level}
          </span>
          <span class="kind">{event.kind}</span>
          <span class="text">{event.text}</span>
        </li>
      ))}
    </ol>
  );
}
