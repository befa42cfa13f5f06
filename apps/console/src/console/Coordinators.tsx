import type { CoordinatorFigures, CoordinatorView } from '@shoal/protocol';
import { Figure } from '../Figure.tsx';
import { formatDuration, formatFigure, formatMs, formatNumber } from '../format.ts';
import { type Tone, ToneIcon } from './peer-state.tsx';

const tones: Record<CoordinatorView['state'], Tone> = {
  serving: 'working',
  uncovered: 'waiting',
  alone: 'waiting',
  draining: 'away',
  cut: 'trouble',
  silent: 'trouble',
};

const words: Partial<Record<CoordinatorView['state'], string>> = {
  uncovered: 'serving, not all experts are on tabs',
  alone: 'serving without tabs',
  cut: 'cannot reach the database',
  silent: 'sends no figures',
};

const FIGURES: { name: string; title?: string; key: keyof CoordinatorFigures; format: (value: number) => string }[] = [
  { name: 'Tokens/s', key: 'tokensPerSecond', format: formatFigure },
  { name: 'Requests', key: 'requests', format: formatNumber },
  { name: 'Tabs', key: 'tabs', format: formatNumber, title: 'Tabs that signal with it' },
  { name: 'Guest links', key: 'guestLinks', format: formatNumber, title: 'Links to tabs that signal with another' },
  {
    name: 'Event loop p99',
    key: 'eventLoopP99Ms',
    format: formatMs,
    title: 'How late its timers are, in 99 % of cases',
  },
];

/** The coordinators that serve this swarm together; shown where there are several. */
export function Coordinators({ coordinators }: { coordinators: CoordinatorView[] }) {
  return (
    <section class="card" id="coordinators" aria-labelledby="coordinators-title" tabIndex={-1}>
      <h2 id="coordinators-title">Coordinators</h2>
      <div class="table-scroll" role="group" aria-labelledby="coordinators-title" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">Coordinator</th>
              <th scope="col">State</th>
              {FIGURES.map(({ name, title }) => (
                <th scope="col" class="numeric" title={title}>
                  {name}
                </th>
              ))}
              <th scope="col">Version</th>
              <th scope="col" class="numeric">
                Up
              </th>
            </tr>
          </thead>
          <tbody>
            {coordinators.map((one) => (
              <Row key={one.id} one={one} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Row({ one }: { one: CoordinatorView }) {
  const { name, isSelf, isLeader, state, figures, version, upMs } = one;
  return (
    <tr>
      <td>
        {name}
        {isSelf && <span class="of"> this one</span>}
        {isLeader && <span class="of"> leads the placement</span>}
      </td>
      <td>
        <span class={`state tone-${tones[state]}`}>
          <ToneIcon tone={tones[state]} /> {words[state] ?? state}
        </span>
      </td>
      {FIGURES.map(({ key, format }) => (
        <td class="numeric">
          <Figure value={figures ? figures[key] : null} format={format} why="It has sent no figures" />
        </td>
      ))}
      <td>{version}</td>
      <td class="numeric">{formatDuration(upMs)}</td>
    </tr>
  );
}
