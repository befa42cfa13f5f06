import { Figure, Tile } from '../Figure.tsx';
import { formatFigure, formatMs, formatNumber } from '../format.ts';
import { ToneIcon, type Tone } from '../console/peer-state.tsx';
import { firstTokenMs, type Run, tokensPerSecond } from './completion.ts';

const states: Record<Run['state'], { tone: Tone; word: string }> = {
  running: { tone: 'working', word: 'writing' },
  finished: { tone: 'working', word: 'finished' },
  stopped: { tone: 'away', word: 'stopped' },
  failed: { tone: 'trouble', word: 'ended with an error' },
};

const reasons: Record<string, string> = { stop: 'the text is complete', length: 'the token limit was reached' };

export function Answer({ run }: { run: Run }) {
  const { tone, word } = states[run.state];
  const written = run.usage?.completionTokens ?? run.tokens.length;
  const reason = run.finishReason === null ? '' : `: ${reasons[run.finishReason] ?? run.finishReason}`;
  return (
    <section class="card answer" aria-labelledby="answer-title">
      <div class="answer-head">
        <h2 id="answer-title">Answer</h2>
        <p role="status" class={`state tone-${tone}`}>
          <ToneIcon tone={tone} /> {word}
          {run.state === 'finished' && reason}
        </p>
        <dl class="tiles small">
          <Tile label="to first token">
            <Figure value={firstTokenMs.value} format={formatMs} why="No token yet" />
          </Tile>
          <Tile label="tokens/s">
            <Figure value={tokensPerSecond.value} format={formatFigure} why="Needs at least two tokens" />
          </Tile>
          <Tile label={written === 1 ? 'token' : 'tokens'}>{formatNumber(written)}</Tile>
        </dl>
      </div>
      <p class="text" aria-busy={run.state === 'running'}>
        <span class="muted">{run.prompt}</span>
        {run.text}
        {run.state === 'running' && <span class="caret" aria-hidden="true" />}
      </p>
      {run.error !== null && (
        <p class="trouble" role="alert">
          {run.error}
        </p>
      )}
    </section>
  );
}
