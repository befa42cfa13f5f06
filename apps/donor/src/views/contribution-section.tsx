import type { DonorSession } from '../donor-session.ts';
import { formatCount, formatPlural } from '../format.ts';
import { Figure } from './figure.tsx';

/** What the donor's tabs have done so far. */
export function Contribution({ session }: { session: DonorSession }) {
  const { standing, visit } = session.state.value;
  return (
    <section class="card" aria-label="What you have done">
      <dl class="figures">
        <Figure name="Tokens" value={formatCount(visit.tokensHelped)}>
          that you helped compute
          {standing && `; ${formatCount(standing.tokensHelpedTotal)} in total`}
        </Figure>
        <Figure
          name="Verified"
          value={standing?.verifiedShare == null ? '–' : `${Math.round(standing.verifiedShare * 100)} %`}
        >
          {standing && standing.verifiedRows > 0
            ? `${formatPlural(standing.verifiedRows, 'result')} re-checked, all correct`
            : 'of the self-test was right'}
        </Figure>
      </dl>
    </section>
  );
}
