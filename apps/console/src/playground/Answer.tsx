import { Figure, Tile } from '../Figure.tsx';
import { formatFigure, formatMs, formatNumber } from '../format.ts';
import { ToneIcon, type Tone } from '../console/peer-state.tsx';
import { type AnswerToken, inWords } from './chunk.ts';
import { firstTokenMs, type Run, tokensPerSecond } from './run.ts';
import { Strip } from './Strip.tsx';

const states: Record<Run<unknown>['state'], { tone: Tone; word: string }> = {
  running: { tone: 'working', word: 'writing' },
  finished: { tone: 'working', word: 'finished' },
  stopped: { tone: 'away', word: 'stopped' },
  failed: { tone: 'trouble', word: 'ended with an error' },
};

const reasons: Record<string, string> = {
  stop: 'the text is complete',
  length: 'the token limit was reached',
  tool_calls: 'the model calls tools',
};

/** How a request went: its state, figures, and what the server had to say against it. */
export function Outcome({ run, seeField }: { run: Run<unknown>; seeField?: string | null }) {
  const { tone, word } = states[run.state];
  const written = run.usage?.completionTokens ?? run.tokens.length;
  const reason = run.finishReason === null ? '' : `: ${reasons[run.finishReason] ?? run.finishReason}`;
  return (
    <>
      <div class="answer-head">
        <h2 id="answer-title">Answer</h2>
        <p role="status" class={`state tone-${tone}`}>
          <ToneIcon tone={tone} /> {word}
          {run.state === 'finished' && reason}
        </p>
        {run.chosen !== null && (
          <p class="muted">
            answered by <span class="id">{run.chosen}</span>
          </p>
        )}
        <dl class="tiles small">
          <Tile label="to first token">
            <Figure value={firstTokenMs(run)} format={formatMs} why="No token yet" />
          </Tile>
          <Tile label="tokens/s">
            <Figure value={tokensPerSecond(run)} format={formatFigure} why="Needs at least two tokens" />
          </Tile>
          <Tile label={written === 1 ? 'token' : 'tokens'}>{formatNumber(written)}</Tile>
          {run.usage && <Tile label="tokens of prompt">{formatNumber(run.usage.promptTokens)}</Tile>}
        </dl>
      </div>
      {run.ignored !== null && (
        <p class="warning">
          <ToneIcon tone="waiting" /> The coordinator ignored parameters that it does not know:{' '}
          <span class="id">{run.ignored}</span>
        </p>
      )}
      {run.fault !== null && (
        <p class="trouble" role="alert">
          {seeField ? `The coordinator refused the request. See “${seeField}”.` : inWords(run.fault)}
        </p>
      )}
    </>
  );
}

/** Which tabs computed the tokens of an answer. */
export function WhoComputed({ tokens }: { tokens: AnswerToken[] }) {
  if (tokens.length === 0) return null;
  return (
    <section class="card" aria-labelledby="strip-title">
      <h2 id="strip-title">Who computed what</h2>
      <p class="muted">
        Every token went through the layers from top to bottom. In each layer the gate chose a few experts; the colours
        show which browser tabs computed them. Drag along the words or use the arrow keys.
      </p>
      <Strip tokens={tokens} />
    </section>
  );
}
