import { Figure } from '../Figure.tsx';
import { FigureTable } from '../FigureTable.tsx';
import { formatBytes, formatFigure, formatShare } from '../format.ts';
import type { Look } from './lab.ts';
import { changedShare, summaryOf } from './study.ts';

const HEADS = [
  'Gate',
  'Loss, nats a token',
  'Other experts than the model’s',
  'Evenness of load',
  'Weights’ entropy, bits',
  'Experts a token',
  'Dropped',
  'Tokens without expert',
  'Tabs a token and layer',
  'Bytes a token',
];

/** One line for each look: what the gates do in figures. */
export function Comparison({ looks }: { looks: readonly Look[] }) {
  const own = looks.find(({ study }) => study?.isOwn)?.study ?? null;
  const first = looks.find(({ study }) => study)?.study;
  return (
    <section class="card comparison" aria-labelledby="comparison-title">
      <h2 id="comparison-title">In figures</h2>
      <p class="muted">
        Over all layers of the text.{' '}
        {first && (
          <>
            Tabs and bytes are counted{' '}
            {first.tabsAreAssumed
              ? `as if each layer’s experts were on ${first.tabs} tabs`
              : `with the ${first.tabs} tabs that serve now`}
            .
          </>
        )}{' '}
        A lower loss means that the model expected the text more.
      </p>
      <FigureTable label="Gates in figures" heads={HEADS}>
        {looks.map((look) => (
          <Line key={look.key} look={look} own={own} />
        ))}
      </FigureTable>
    </section>
  );
}

function Line({ look, own }: { look: Look; own: Look['study'] }) {
  const { study } = look;
  if (!study) {
    return (
      <tr>
        <th scope="row">{look.note || look.gate}</th>
        <td colSpan={HEADS.length - 1} class={look.fault ? 'trouble' : 'muted'}>
          {look.fault ?? look.state}
        </td>
      </tr>
    );
  }
  const figures = summaryOf(study);
  const [fewest, mean, most] = figures.expertsPerToken;
  return (
    <tr>
      <th scope="row">
        {study.title}
        {look.note && <span class="muted"> · {look.note}</span>} <Whose isOwn={study.isOwn} />
      </th>
      <td class="numeric">
        <Figure
          value={figures.nll}
          format={(value) => value.toFixed(3)}
          why="The text has one token, or the model makes no text"
        />
      </td>
      <td class="numeric">
        <Figure
          value={own && changedShare(own, study)}
          format={formatShare}
          why="Slots are no choice of experts, or the model’s own gate has failed"
        />
      </td>
      <td class="numeric">{formatShare(figures.evenness)}</td>
      <td class="numeric">{formatFigure(figures.weightBits)}</td>
      <td class="numeric">{fewest === most ? fewest : `${fewest} – ${formatFigure(mean)} – ${most}`}</td>
      <td class="numeric">{formatShare(figures.dropped)}</td>
      <td class="numeric">{formatShare(figures.withoutExpert)}</td>
      <td class="numeric">{formatFigure(figures.tabsPerToken)}</td>
      <td class="numeric">{formatBytes(figures.bytesPerToken)}</td>
    </tr>
  );
}

/** Says in words, and not by colour alone, whose gate it is. */
export function Whose({ isOwn }: { isOwn: boolean }) {
  return <span class={isOwn ? 'whose own' : 'whose'}>{isOwn ? 'the model’s own' : 'for study'}</span>;
}
