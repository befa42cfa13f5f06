import { useSignal } from '@preact/signals';
import { takeAway } from './bans-state.ts';

/** Takes away what donors call themselves on public pages. */
export function PublicNames() {
  const kind = useSignal<'names' | 'teams'>('names');
  const which = useSignal('');
  return (
    <form
      class="entry-form new-ban"
      aria-label="Take a name away"
      onSubmit={(event) => {
        event.preventDefault();
        void takeAway(kind.value, which.value.trim()).then((isDone) => isDone && (which.value = ''));
      }}
    >
      <div>
        <label for="public-name-kind">On the swarm’s page</label>
        <select
          id="public-name-kind"
          value={kind.value}
          onChange={({ currentTarget: { value } }) => (kind.value = value as 'names' | 'teams')}
        >
          <option value="names">take a donor’s name away</option>
          <option value="teams">dissolve a team</option>
        </select>
      </div>
      <div>
        <label for="public-name">{kind.value === 'names' ? 'The name' : 'The number in the team’s link'}</label>
        <input
          id="public-name"
          required
          maxLength={64}
          autocomplete="off"
          inputMode={kind.value === 'names' ? 'text' : 'numeric'}
          value={which.value}
          onInput={({ currentTarget: { value } }) => (which.value = value)}
        />
      </div>
      <p class="actions">
        <button type="submit" class="danger">
          {kind.value === 'names' ? 'Take the name away' : 'Dissolve the team'}
        </button>
      </p>
    </form>
  );
}
