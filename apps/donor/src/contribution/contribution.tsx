import type { Contribution as Account, Figures } from '@shoal/protocol';
import type { DonorSession } from '../donor-session.ts';
import { formatCount, formatDuration } from '../format.ts';
import { AccountForms, Made } from './account-forms.tsx';
import type { ContributionDesk } from './desk.ts';
import { Told } from './told.tsx';
import { checkedText, energyOf } from './words.ts';

/** What the donor's tabs have done so far, and what it can do about it. */
export function Contribution({ session }: { session: DonorSession }) {
  const { desk } = session;
  if (!desk) return null;
  const account = desk.known.value;
  return (
    <section class="card contribution" aria-labelledby="contribution">
      <h2 id="contribution">What your {session.state.value.device === 'cpu' ? 'CPU' : 'GPU'} did</h2>
      {account ? (
        <Known account={account} desk={desk} />
      ) : (
        <p class="hint">The coordinator is still looking up what you did before.</p>
      )}
      <Told desk={desk} />
      <Made desk={desk} />
    </section>
  );
}

function Known({ account, desk }: { account: Account; desk: ContributionDesk }) {
  const { name, team, total, kept, proven, browsers } = account;
  const watts = desk.watts.value;
  return (
    <>
      <p>
        {name === null ? 'Thank you. ' : `Thank you, ${name}. `}
        {checkedText(total)}
        {team && ` You are in the team ${team.name}.`}
        {browsers > 1 && ` ${browsers} browsers of yours are counted together.`}
      </p>
      <table class="periods">
        <thead>
          <tr>
            <td />
            <th scope="col">Tokens helped</th>
            <th scope="col">Time lent</th>
            <th scope="col">Energy</th>
          </tr>
        </thead>
        <tbody>
          <Period name="Today" figures={account.today} watts={watts} />
          <Period name="Seven days" figures={account.week} watts={watts} />
          <Period name="In all" figures={total} watts={watts} />
        </tbody>
      </table>
      <p class="hint">
        A token counts once a check has confirmed your results. The energy is an estimate:{' '}
        <input
          type="number"
          class="watts"
          aria-label="Watts while computing"
          min="1"
          max="1000"
          value={watts}
          onInput={({ currentTarget }) => desk.setWatts(currentTarget.valueAsNumber)}
        />{' '}
        watts while your device computes, and nothing in between. A day begins at midnight UTC.
      </p>
      {!kept && (
        <p class="note">
          This coordinator keeps nothing: these figures end when it stops, and there are no names or teams.
        </p>
      )}
      {kept && !proven && (
        <p class="note">
          This browser keeps no key for this page (its storage is blocked, or the page isn’t opened over HTTPS). Your
          work counts, but without a key you can’t choose a name, join a team or move it to another browser.
        </p>
      )}
      {kept && proven && <AccountForms account={account} desk={desk} />}
    </>
  );
}

function Period({ name, figures, watts }: { name: string; figures: Figures; watts: number }) {
  return (
    <tr>
      <th scope="row">{name}</th>
      <td>{formatCount(Math.floor(figures.tokens))}</td>
      <td>{formatDuration(figures.servedSeconds)}</td>
      <td>{energyOf(figures, watts)}</td>
    </tr>
  );
}
