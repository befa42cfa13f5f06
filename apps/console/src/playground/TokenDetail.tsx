import type { TokenLap } from '@shoal/protocol';
import { scheme } from '../environment.ts';
import { formatMs, formatNumber, formatShare, plural } from '../format.ts';
import { contrast, peerColour } from '../palette.ts';
import type { AnswerToken, Odds } from './chunk.ts';
import { letterOf, peerIndex } from './peer-names.ts';
import { lapMsOf, lapsOf, visibleText } from './strip-layout.ts';

/** The tab's letter on its colour; hatched for the coordinator. */
export function PeerSwatch({ peerId }: { peerId: string | null }) {
  if (peerId === null) return <span class="peer-swatch hatched" aria-hidden="true" />;
  const colour = peerColour(peerIndex(peerId), scheme.value);
  const ink = contrast(colour, '#ffffff') >= contrast(colour, '#0f1418') ? '#ffffff' : '#0f1418';
  return (
    <span class="peer-swatch" style={{ background: colour, color: ink }}>
      {letterOf(peerId)}
    </span>
  );
}

export function TokenDetail({ token, number, count }: { token: AnswerToken; number: number; count: number }) {
  const slowest = Math.max(...token.laps.map((lap) => lap.lapMs), Number.MIN_VALUE);
  return (
    <section class="token-detail" aria-labelledby="token-title">
      <h3 id="token-title">
        <span class="word">{visibleText(token.text)}</span>
        <span class="muted">
          token {formatNumber(number)} of {formatNumber(count)} · id {token.id} · {plural(lapsOf(token), 'lap')},{' '}
          {formatMs(lapMsOf(token))}
        </span>
      </h3>
      {token.odds && <TokenOdds odds={token.odds} />}
      <div class="table-scroll" role="group" aria-labelledby="token-title" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">Layer</th>
              <th scope="col">Experts with gate weights</th>
              <th scope="col" class="numeric">
                Lap
              </th>
            </tr>
          </thead>
          <tbody>
            {token.laps.map((lap) => (
              <tr key={lap.layer}>
                <th scope="row">{lap.layer}</th>
                <td>
                  <LapExperts lap={lap} />
                </td>
                <td class="numeric">
                  {formatMs(lap.lapMs)}
                  <span class="track" aria-hidden="true">
                    <span class="bar ours" style={{ width: `${(lap.lapMs / slowest) * 100}%` }} />
                  </span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** How likely the token was, and its alternatives. */
function TokenOdds({ odds }: { odds: Odds }) {
  return (
    <p class="odds">
      Probability {formatShare(Math.exp(odds.logprob))}
      {odds.top.map(({ token, logprob }) => (
        <span class="expert">
          <span class="id">{visibleText(token)}</span> <span class="muted">{formatShare(Math.exp(logprob))}</span>
        </span>
      ))}
    </p>
  );
}

/** The experts of a lap by the tab that computed them. */
function LapExperts({ lap }: { lap: TokenLap }) {
  const groups = new Map<string | null, TokenLap['experts']>();
  for (const expert of lap.experts) groups.set(expert.peerId, [...(groups.get(expert.peerId) ?? []), expert]);
  return (
    <ul class="lap-experts">
      {[...groups]
        .sort(([a], [b]) => rank(a) - rank(b))
        .map(([peerId, experts]) => (
          <li
            title={peerId ?? (lap.resident ? 'local layer of the coordinator, no lap' : 'computed by the coordinator')}
          >
            <PeerSwatch peerId={peerId} />
            <span class="sr">{peerId === null ? 'the coordinator: ' : `${peerId}: `}</span>
            {experts.map(({ expert, weight }) => (
              <span class="expert">
                {expert} <span class="muted">{formatNumber(weight, 2)}</span>
              </span>
            ))}
          </li>
        ))}
    </ul>
  );
}

/** Sorts tabs by letter, the coordinator last. */
const rank = (peerId: string | null): number => (peerId === null ? Number.MAX_SAFE_INTEGER : peerIndex(peerId));
