import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { prepareCanvas, scheme, useWidth } from '../environment.ts';
import { formatFigure, formatMs, formatShare, plural } from '../format.ts';
import type { AnswerToken } from './chunk.ts';
import { drawLine, type StripScale, WORD_FONT } from './draw-strip.ts';
import { learnPeers, letterOf } from './peer-names.ts';
import { PeerSwatch, TokenDetail } from './TokenDetail.tsx';
import {
  LINE_GAP_PX,
  lapMsOf,
  lapsOf,
  lineHeight,
  niceCeiling,
  peerShares,
  stepFrom,
  type StripLayout,
  stripLayout,
  tokenAt,
  visibleText,
} from './strip-layout.ts';

const ruler = document.createElement('canvas').getContext('2d');
const widths = new Map<string, number>();

function textWidth(text: string): number {
  const shown = visibleText(text);
  let width = widths.get(shown);
  if (width === undefined) {
    if (ruler) ruler.font = WORD_FONT;
    width = ruler ? ruler.measureText(shown).width : shown.length * 8;
    widths.set(shown, width);
  }
  return width;
}

/** Shows which tab computed what for every token of an answer, like a musical score; scrubbed by mouse, touch or arrow keys. */
export function Strip({ tokens }: { tokens: AnswerToken[] }) {
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box);
  /** The selected token, and the one that the mouse is over. */
  const chosen = useSignal<number | null>(null);
  const passing = useSignal<number | null>(null);
  learnPeers(tokens);

  const layers = useMemo(
    () => [...new Set(tokens.flatMap((t) => t.laps.map((lap) => lap.layer)))].sort((a, b) => a - b),
    [tokens],
  );
  const layout = useMemo(
    () =>
      stripLayout(
        tokens.map((t) => textWidth(t.text)),
        width,
      ),
    [tokens, width],
  );
  const scale: StripScale = {
    layers,
    fullMs: niceCeiling(Math.max(0, ...tokens.map(lapMsOf))),
    scheme: scheme.value,
  };
  const last = tokens.length - 1;
  const at = Math.min(last, passing.value ?? chosen.value ?? last);
  const token = tokens[at];
  const place = (event: PointerEvent): number | null => {
    const line = event.target instanceof Element ? event.target.getAttribute('data-line') : null;
    const left = box.current?.getBoundingClientRect().left ?? 0;
    return line === null ? null : tokenAt(layout, Number(line), event.clientX - left);
  };

  return (
    <div class="strip-and-detail">
      <div>
        <Legend tokens={tokens} fullMs={scale.fullMs} />
        <div
          ref={box}
          class="strip"
          role="slider"
          tabIndex={0}
          aria-label="Token of the answer"
          aria-orientation="horizontal"
          aria-valuemin={1}
          aria-valuemax={tokens.length}
          aria-valuenow={at + 1}
          aria-valuetext={token ? speak(token, at, tokens.length) : undefined}
          onKeyDown={(event) => {
            const next = stepFrom(layout, at, event.key);
            if (next === null) return;
            passing.value = null;
            chosen.value = next;
            event.preventDefault();
          }}
          onPointerDown={(event) => (chosen.value = place(event) ?? chosen.value)}
          onPointerMove={(event) => {
            const under = place(event);
            if (event.buttons > 0 && under !== null) chosen.value = under;
            passing.value = event.pointerType === 'mouse' ? under : null;
          }}
          onPointerLeave={() => (passing.value = null)}
        >
          {layout.lines.map((span, line) => (
            <Line
              key={line}
              tokens={tokens}
              layout={layout}
              line={line}
              count={span.end - span.start}
              scale={scale}
              width={width}
              selected={at >= span.start && at < span.end ? at : null}
            />
          ))}
        </div>
      </div>
      {token && <TokenDetail token={token} number={at + 1} count={tokens.length} />}
    </div>
  );
}

interface LineProps {
  tokens: AnswerToken[];
  layout: StripLayout;
  line: number;
  count: number;
  scale: StripScale;
  width: number;
  selected: number | null;
}

/** One canvas per line, since a long answer would exceed a canvas's maximum size, and only the last line grows. */
function Line({ tokens, layout, line, count, scale, width, selected }: LineProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const height = lineHeight(scale.layers.length);
  const first = tokens[layout.lines[line]?.start ?? 0];
  useEffect(() => {
    if (!canvas.current || width === 0) return;
    const context = prepareCanvas(canvas.current, width, height);
    if (context) drawLine(context, tokens, layout, line, scale, selected);
  }, [first, count, width, height, scale.fullMs, scale.scheme, selected]);
  return <canvas ref={canvas} data-line={line} aria-hidden="true" style={{ marginBottom: `${LINE_GAP_PX}px` }} />;
}

function Legend({ tokens, fullMs }: { tokens: AnswerToken[]; fullMs: number }) {
  const shares = peerShares(tokens);
  return (
    <ul class="legend" aria-label="Who computed the experts">
      {shares.map(({ peerId, share, experts }) => (
        <li title={`${plural(experts, 'expert computation')}`}>
          <PeerSwatch peerId={peerId} />
          <span>
            {peerId === null ? 'the coordinator itself' : <span class="id">{peerId}</span>} · {formatShare(share)}
          </span>
        </li>
      ))}
      <li class="muted">layers from top to bottom · bar: total lap time, full height {formatFigure(fullMs)} ms</li>
    </ul>
  );
}

function speak(token: AnswerToken, at: number, count: number): string {
  const shares = peerShares([token]).map(({ peerId, experts }) =>
    peerId === null ? `${experts} by the coordinator` : `${experts} on ${letterOf(peerId)}, ${peerId}`,
  );
  const word = visibleText(token.text);
  return `${at + 1} of ${count}, “${word}”: ${plural(lapsOf(token), 'lap')} in ${formatMs(lapMsOf(token))}; experts: ${shares.join('; ')}`;
}
