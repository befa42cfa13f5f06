import { formatCount } from '../format.ts';
import type { ContributionDesk } from './desk.ts';

/** What the last request came to. */
export function Told({ desk }: { desk: ContributionDesk }) {
  const told = desk.told.value;
  return (
    <p class="told" role="status" data-good={told?.isGood}>
      {told?.text}
    </p>
  );
}

/** Greets a donor who comes back, from what this browser remembers. */
export function Greeting({ desk }: { desk: ContributionDesk | undefined }) {
  const greeting = desk?.greeting;
  if (!greeting) return null;
  const tokens = formatCount(greeting.tokens);
  return (
    <p class="greeting">
      Welcome back{greeting.name === null ? '' : `, ${greeting.name}`}. You have helped with {tokens} tokens so far.
    </p>
  );
}

/** What the link asks for with which the page was opened: nothing happens until its reader agrees. */
export function LinkAsked({ desk }: { desk: ContributionDesk | undefined }) {
  const asked = desk?.asked.value;
  if (!asked) return null;
  const isTeam = asked.do === 'join-team';
  const agree = async (): Promise<void> => {
    const done = isTeam
      ? 'You have joined the team. What you do from now on counts for it, and so does what you did.'
      : 'This browser is added. What it does is counted together with your other browsers’.';
    if (await desk.ask(asked, done)) desk.asked.value = undefined;
  };
  return (
    <section class="card" aria-label={isTeam ? 'A team’s link' : 'Another browser’s link'}>
      <p>
        {isTeam
          ? 'This link is from a team. Join it? If you have never lent here, lend for a minute first.'
          : 'This link adds this browser to an account that another browser has here. A name that this browser has is given up, and what it did moves along.'}
      </p>
      <div class="actions">
        <button type="button" class="primary" disabled={desk.isBusy.value} onClick={() => void agree()}>
          {isTeam ? 'Join the team' : 'Add this browser'}
        </button>
        <button type="button" disabled={desk.isBusy.value} onClick={() => (desk.asked.value = undefined)}>
          No, thank you
        </button>
      </div>
      <Told desk={desk} />
    </section>
  );
}
