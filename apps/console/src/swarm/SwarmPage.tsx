import type { SwarmView, TeamView } from '@shoal/protocol';
import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { formatNumber, plural } from '../format.ts';
import { Shell } from '../Shell.tsx';

const DEADLINE_MS = 10_000;
/** The coordinator's answer is as old as that at most. */
const REFRESH_MS = 15_000;

const view = signal<SwarmView | undefined>(undefined);
const team = signal<TeamView | undefined>(undefined);
const fault = signal<string | undefined>(undefined);

const teamAsked = new URLSearchParams(location.search).get('team');

async function load<T>(path: string, into: { value: T | undefined }): Promise<void> {
  try {
    const response = await fetch(path, { signal: AbortSignal.timeout(DEADLINE_MS) });
    const body = (await response.json()) as T & { error?: { message?: string } };
    if (!response.ok) throw new Error(body.error?.message ?? `The coordinator answered ${response.status}.`);
    into.value = body;
    fault.value = undefined;
  } catch (error) {
    fault.value = error instanceof TypeError ? 'The coordinator did not answer.' : (error as Error).message;
  }
}

async function loadAll(): Promise<void> {
  await load('./swarm.json', view);
  if (teamAsked !== null) await load(`./swarm.json?team=${encodeURIComponent(teamAsked)}`, team);
}

/** What everybody may know of the swarm: what is served, by how many, and thanks to whom. */
export function SwarmPage() {
  useEffect(() => {
    void loadAll();
    const timer = setInterval(() => document.hidden || void loadAll(), REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
  const known = view.value;
  return (
    <Shell current="/swarm">
      <h1>{teamAsked === null ? 'The swarm' : (team.value?.name ?? 'A team')}</h1>
      {fault.value && (
        <p class="trouble" role="alert">
          {fault.value}
        </p>
      )}
      {fault.value && teamAsked !== null && (
        <p>
          <a href="./swarm">See the whole swarm</a>
        </p>
      )}
      {team.value && <Team team={team.value} />}
      {known && teamAsked === null && <Swarm view={known} />}
    </Shell>
  );
}

function Swarm({ view: known }: { view: SwarmView }) {
  const { operator, tabs, experts, totals, contributors, teams } = known;
  const run = operator.name ? `, run by ${operator.name}` : '';
  return (
    <>
      <section class="card" aria-label="What is served">
        <p class="lead">
          <b>{known.model}</b>
          {run}.{' '}
          {tabs === 0 ? 'No tab serves it at the moment.' : `${plural(tabs, 'tab')} serve${tabs === 1 ? 's' : ''} `}
          {tabs > 0 &&
            (experts.served === experts.all
              ? `all of its ${formatNumber(experts.all)} experts.`
              : `${formatNumber(experts.served)} of its ${formatNumber(experts.all)} experts; the coordinator computes the others itself.`)}{' '}
          {known.tokensPerSecond >= 0.1 && `It answered ${formatNumber(known.tokensPerSecond)} tokens a second lately.`}
        </p>
        {operator.about && <p>{operator.about}</p>}
        {operator.contact && <p class="muted">Contact: {operator.contact}</p>}
        {known.kept && (
          <p>
            {plural(totals.donors, 'donor')} helped with {formatNumber(Math.floor(totals.total.tokens))} tokens,{' '}
            {formatNumber(Math.floor(totals.week.tokens))} of them in the last seven days.{' '}
            {formatNumber(totals.total.verifiedRows)} of their results were re-checked, all correct.
          </p>
        )}
        {known.kept && contributors.length === 0 && (
          <p class="muted">Nobody is listed by name yet: donors choose that on the page where they lend.</p>
        )}
        <p>
          <a href="./">Lend a GPU</a>
          {known.inviteOnly
            ? ' (you need an invitation from the operator)'
            : ' from a browser, without an installation'}{' '}
          · <a href="./playground">Try the model</a>
        </p>
      </section>
      {contributors.length > 0 && (
        <Ranking
          title="Donors who want to be seen"
          rows={contributors.map(({ name, team: its, ...credit }) => ({ name, note: its ?? '', ...credit }))}
          noted="Team"
        />
      )}
      {teams.length > 0 && (
        <Ranking
          title="Teams"
          rows={teams.map(({ id, name, members, week, total }) => ({
            name,
            href: `./swarm?team=${id}`,
            note: formatNumber(members),
            week,
            total,
          }))}
          noted="Members"
        />
      )}
      {contributors.length + teams.length > 0 && <Counted />}
      {!known.kept && <p class="muted">This coordinator keeps nothing, so there are no names and no teams.</p>}
    </>
  );
}

function Team({ team: { id, members, week, total, contributors = [] } }: { team: TeamView }) {
  return (
    <>
      <section class="card" aria-label="The team">
        <p class="lead">
          {plural(members, 'member')} helped with {formatNumber(Math.floor(total))} tokens,{' '}
          {formatNumber(Math.floor(week))} of them in the last seven days.
        </p>
        <p>
          <a href={`./#team=${id}`}>Join this team</a> · <a href="./swarm">The whole swarm</a>
        </p>
      </section>
      {contributors.length > 0 && (
        <Ranking title="Members who want to be seen" rows={contributors.map((one) => ({ ...one, note: '' }))} />
      )}
      {contributors.length > 0 && <Counted />}
    </>
  );
}

const Counted = () => (
  <p class="muted">
    The figures are tokens that were computed with a donor’s help. A token counts once a check has confirmed the
    results.
  </p>
);

interface Rank {
  name: string;
  href?: string;
  note: string;
  week: number;
  total: number;
}

function Ranking({ title, rows, noted }: { title: string; rows: readonly Rank[]; noted?: string }) {
  return (
    <section class="card" aria-label={title}>
      <h2>{title}</h2>
      <div class="table-scroll" tabIndex={0} role="region" aria-label={`${title}, as a table`}>
        <table class="ranking">
          <thead>
            <tr>
              <th scope="col">Name</th>
              {noted && <th scope="col">{noted}</th>}
              <th scope="col" class="number">
                Seven days
              </th>
              <th scope="col" class="number">
                In all
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ name, href, note, week, total }) => (
              <tr key={href ?? name}>
                <th scope="row">
                  <bdi>{href === undefined ? name : <a href={href}>{name}</a>}</bdi>
                </th>
                {noted && (
                  <td>
                    <bdi>{note}</bdi>
                  </td>
                )}
                <td class="number">{formatNumber(Math.floor(week))}</td>
                <td class="number">{formatNumber(Math.floor(total))}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
