import type { ConsoleSnapshot } from '@shoal/protocol';
import { Tile } from '../Figure.tsx';
import { formatFigure, formatNumber } from '../format.ts';
import { type Tone, ToneIcon } from './peer-state.tsx';

const tones: Record<ConsoleSnapshot['verdict']['state'], Tone> = {
  serving: 'working',
  uncovered: 'trouble',
  alone: 'waiting',
  draining: 'away',
};

/** Tells the operator whether the swarm is healthy, and if not, where to look. */
export function Verdict({ now }: { now: ConsoleSnapshot }) {
  const { verdict } = now;
  const [first, ...more] = now.attention;
  const tone = tones[verdict.state];
  const streams = now.requests.filter((request) => request.state !== 'queued').length;
  const tabs = now.peers.filter((peer) => peer.state !== 'gone').length;
  return (
    <section class={`verdict edge-${tone}`} aria-label="Verdict">
      <div class="verdict-words">
        <p class="verdict-text">
          <ToneIcon tone={tone} />
          <span>{verdict.text}</span>
        </p>
        {first ? (
          <p>
            Needs attention: <a href={first.href}>{first.text}</a>
            {more.length > 0 && (
              <>
                {' '}
                · <a href="#attention">{more.length} more</a>
              </>
            )}
          </p>
        ) : (
          <p class="muted">Nothing needs your attention.</p>
        )}
      </div>
      <dl class="tiles">
        <Tile label="tokens/s">{formatFigure(now.flow.tokensPerSecond)}</Tile>
        <Tile label={streams === 1 ? 'stream' : 'streams'}>{formatNumber(streams)}</Tile>
        <Tile label={tabs === 1 ? 'tab' : 'tabs'}>{formatNumber(tabs)}</Tile>
      </dl>
    </section>
  );
}
