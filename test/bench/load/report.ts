import { formatTable } from '../table.ts';
import type { SpanFigures } from '../span.ts';
import { type Quantiles, quantileOf, quantilesOf } from '../statistics.ts';
import type { Outcome } from './client.ts';
import type { LoadOptions } from './options.ts';
import { type FloorInputs, ceilingTokensPerS, floorGapMs, floorTtftMs, within } from './workload.ts';

export interface LoadResult {
  options: LoadOptions;
  outcomes: Outcome[];
  span: SpanFigures;
  floors: FloorInputs;
}

/** Formats the results of a run as a table with the floor beside each figure. */
export function printLoad(result: LoadResult): string {
  const { options, outcomes, span } = result;
  const rows = [['figure', 'measured', 'floor or bound'], ...answerRows(result), ...resourceRows(result)];
  const late = quantileOf(
    outcomes.map(({ lateMs }) => lateMs),
    0.99,
  );
  return (
    `\n${describe(options)}\n\n${formatTable(rows)}\n\n` +
    `Tokens/s and answers under way: while requests came; the last answer ended after ${span.seconds.toFixed(1)} s. The floor of a gap: laps × the round trip as it was, and the time of a ` +
    `pass of one stream without one (${result.floors.ownMs.toFixed(1)} ms, same run). Gaps are between tokens, those that come ` +
    `together, of one pass, being one; ms per token, over a whole answer. Utilisation is of the time: engine and kernels alone, the main thread, cores of whole ` +
    `processes. The load generator's own lateness, p99: ${late.toFixed(1)} ms.\n`
  );
}

function describe({ workload, roundTripMs, loss, tabs, paces, temperature, seed }: LoadOptions): string {
  const { arrivals, durationS, promptTokens, answerTokens } = workload;
  const come =
    'ratePerS' in arrivals
      ? `Poisson arrivals, ${arrivals.ratePerS} requests/s`
      : `${arrivals.streams} streams, closed loop`;
  const length = ({ median, sigma, min, max }: typeof promptTokens): string =>
    `log-normal, median ${median}, σ ${sigma}, ${min} to ${max}`;
  const pace = paces.map(({ lapOverheadMs, assignmentsPerSecond }) => {
    const speed =
      assignmentsPerSecond === Number.POSITIVE_INFINITY ? 'as fast as this machine' : `${assignmentsPerSecond} pairs/s`;
    return lapOverheadMs > 0 ? `${speed} and ${lapOverheadMs} ms a lap` : speed;
  });
  return (
    `${come} for ${durationS} s; prompts ${length(promptTokens)} tokens; answers ${length(answerTokens)} tokens asked for ` +
    `(the end of the story may come before); temperature ${temperature}; ${tabs} tabs (${pace.join('; ')}), round trip ` +
    `${roundTripMs} ms, loss ${100 * loss} %; seed ${seed}`
  );
}

function answerRows({ options, outcomes, span, floors }: LoadResult): string[][] {
  const answered = outcomes.filter(({ status, broken }) => status === 200 && broken === undefined);
  const { durationS } = options.workload;
  const tokens = answered.reduce((sum, outcome) => sum + outcome.tokens, 0);
  const run = within(answered, 1000 * durationS);
  const median = (pick: (outcome: Outcome) => number): number => quantileOf(answered.map(pick), 0.5);
  const promptTokens = median((outcome) => outcome.promptTokens);
  const ttft = quantilesOf(answered.flatMap(({ ttftMs }) => ttftMs ?? []));
  const gaps = quantilesOf(answered.flatMap(({ gapsMs }) => gapsMs));
  const ceiling = ceilingTokensPerS(options.workload, floors, tokens);
  const refused = outcomes.filter(({ status }) => status === 429);
  const retry = quantileOf(
    refused.map(({ retryAfterS }) => retryAfterS ?? 0),
    0.5,
  );
  const broken = outcomes.filter((outcome) => outcome.status !== 429 && !answered.includes(outcome));
  const isOpen = 'ratePerS' in options.workload.arrivals;
  return [
    ['requests answered', String(answered.length), `${outcomes.length} sent`],
    ['refused with 429', percent(refused.length, outcomes.length), refused.length ? `Retry-After ${retry} s` : '0 %'],
    ['failed otherwise', String(broken.length), broken[0] ? (broken[0].broken ?? `HTTP ${broken[0].status}`) : '0'],
    ['tokens of prompt, answer (median)', `${promptTokens}, ${median((outcome) => outcome.tokens)}`, ''],
    ['answers under way, mean', run.underWay.toFixed(1), ''],
    [
      'tokens/s',
      (run.tokens / durationS).toFixed(1),
      `${ceiling.toFixed(1)} ${isOpen ? 'asked for' : 'at the floor’s gap'}`,
    ],
    ['TTFT ms, p50 p95 p99', three(ttft), floorTtftMs(floors, promptTokens).toFixed(0)],
    ['gap ms, p50 p95 p99', three(gaps), floorGapMs(floors).toFixed(0)],
    [
      'ms per token of an answer, p50 p95 p99',
      three(quantilesOf(answered.flatMap(perTokenMs))),
      `${(floorGapMs(floors) / floors.tokensPerPass).toFixed(0)} at the mean tokens a pass`,
    ],
    [
      'laps per token of a stream',
      (floors.lapsPerPass / floors.tokensPerPass).toFixed(2),
      `${floors.lapsPerPass} without drafts`,
    ],
    ['laps per token, shared', (span.laps / span.tokens).toFixed(3), ''],
  ];
}

/** Milliseconds per token, from an answer's first token to its last. */
function perTokenMs({ gapsMs, tokens }: Outcome): number[] {
  return tokens > 1 && gapsMs.length > 0 ? [gapsMs.reduce((sum, ms) => sum + ms, 0) / (tokens - 1)] : [];
}

function resourceRows({ span, floors, options }: LoadResult): string[][] {
  const { lapParts, roundTrip, lapMs } = span;
  return [
    ['lap ms, p50 p95', `${lapMs.p50.toFixed(1)} ${lapMs.p95.toFixed(1)}`, `${floors.roundTripMs.toFixed(1)}`],
    [
      '  queue, wire, compute ms',
      [lapParts.queueMs, lapParts.wireMs, lapParts.computeMs].map((ms) => ms.toFixed(2)).join(' '),
      '',
    ],
    [
      'round trip ms as it was, p50 p95',
      `${roundTrip.p50.toFixed(2)} ${roundTrip.p95.toFixed(2)}`,
      `${options.roundTripMs} meant`,
    ],
    ['hedged', percent(span.hedges, span.laps), '5 %'],
    ['re-dispatched', percent(span.redispatches, span.laps), '0 %'],
    ['by the coordinator for want of a tab', percent(span.localShare, 1), '0 %'],
    ['bytes to floor of the peers used', `${(span.wireBytes / span.floorBytes).toFixed(3)} ×`, '1.08 ×'],
    ['engine busy', percent(span.engineBusy, 1), '100 %'],
    ['coordinator’s main thread', percent(span.mainThread, 1), '100 %'],
    ['  cores of the process', span.cores.toFixed(2), ''],
    ['event loop late, p99', `${span.loopDelayP99Ms.toFixed(1)} ms`, '10 ms'],
    ...span.tabs.map(({ kernels, cpu, laps, rows }, i) => [
      `tab ${i + 1}: kernels, cores, laps, rows a lap`,
      `${percent(kernels, 1)}, ${cpu.toFixed(2)}, ${laps}, ${laps === 0 ? '–' : (rows / laps).toFixed(1)}`,
      '100 %',
    ]),
  ];
}

function percent(part: number, whole: number): string {
  return `${(whole === 0 ? 0 : (100 * part) / whole).toFixed(1)} %`;
}

function three({ p50, p95, p99 }: Quantiles): string {
  return [p50, p95, p99].map((ms) => ms.toFixed(0)).join(' ');
}
