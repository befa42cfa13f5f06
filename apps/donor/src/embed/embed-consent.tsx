import { KEPT_PLEDGES } from '@shoal/peer';
import { useEffect, useRef, useState } from 'preact/hooks';
import { DEVICE_WORD } from '../device.ts';
import { formatMemory } from '../format.ts';
import { PLEDGE_STOPS_BYTES } from '../pledge.ts';
import type { EmbedViewProps } from './embed-props.ts';
import { type Sight, SightWatch } from './sight.ts';

/** More than this is a choice for the page of its own. */
const MAX_BYTES = 4 * 2 ** 30;

/** The question. Its button counts only while a person can be seen to see it: see ADR 36. */
export function EmbedConsent({ session, info, site, host, again = false }: EmbedViewProps & { again?: boolean }) {
  const { device, keepsNothing } = session.state.value;
  const [pledgeBytes, setPledgeBytes] = useState(Math.min(MAX_BYTES, session.state.value.pledgeBytes));
  const { button, sight, isCertain } = useSight();
  const [wasEarly, setWasEarly] = useState(false);
  const word = DEVICE_WORD[device];
  const { model, operator } = info.value ?? {};
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (!event.isTrusted || !isCertain()) return setWasEarly(true);
        void session.lend({ device, pledgeBytes, paused: false });
      }}
    >
      {!again && (
        <>
          <h1>Lend part of your {word}?</h1>
          <p>
            While this page is open, it would help to run {model ? <strong>{model.id}</strong> : 'a language model'}, a
            language model that lives in many people’s browsers{operator?.name ? `, for ${operator.name}` : ''}.
          </p>
        </>
      )}
      <label>
        {device === 'cpu' ? 'Memory' : 'GPU memory'} to lend
        <select value={pledgeBytes} onChange={(event) => setPledgeBytes(Number(event.currentTarget.value))}>
          {PLEDGE_STOPS_BYTES.filter((bytes) => bytes <= MAX_BYTES).map((bytes) => (
            <option key={bytes} value={bytes}>
              up to {formatMemory(bytes)}
            </option>
          ))}
        </select>
      </label>
      {sight === 'unknown' ? (
        <a class="primary" href="./" target="_blank" rel="noopener">
          Lend on {host}
        </a>
      ) : (
        <button ref={button} type="submit" class="primary">
          Lend my {word}
        </button>
      )}
      <p class="hint" role={wasEarly ? 'alert' : undefined}>
        {sight === 'unknown'
          ? 'This browser can’t tell whether this box is in full view, so you are asked on a page of its own.'
          : wasEarly
            ? 'This button has to be in full view for a second before it is pressed. Please press it again.'
            : `Nothing is downloaded until you press it${device === 'cpu' ? '. Without a GPU your processor helps, much more slowly.' : '.'}`}
      </p>
      <details>
        <summary>What this takes, and who sees what</summary>
        <ul>
          <li>
            Up to {formatMemory(pledgeBytes)} are downloaded
            {keepsNothing
              ? ', and again at every visit, since this browser keeps nothing for such boxes.'
              : `, and up to ${formatMemory(KEPT_PLEDGES * pledgeBytes)} kept in this browser for visits to ${site}.`}
          </li>
          <li>A few kilobytes of traffic for each word that your {word} helps with.</li>
          <li>While it works, your {word} draws power and a fan may start.</li>
          <li>
            {host} sees your IP address, {device === 'cpu' ? 'how many threads' : 'which GPU'} and how much memory you
            lend. {site} sees only whether you lend.
          </li>
          <li>Other people’s prompts pass through as numbers from which most of a prompt can be reconstructed.</li>
          <li>
            More choices are on <a href="./" target="_blank" rel="noopener">{`the page of ${host}`}</a>.
          </li>
        </ul>
      </details>
    </form>
  );
}

/** Whether the button is in full view. */
function useSight() {
  const button = useRef<HTMLButtonElement>(null);
  const watch = useRef<SightWatch | undefined>(undefined);
  const [sight, setSight] = useState<Sight>('hidden');
  useEffect(() => {
    if (!button.current) return undefined;
    watch.current = new SightWatch(button.current, { onChange: setSight });
    return () => watch.current?.close();
  }, []);
  return { button, sight, isCertain: () => watch.current?.isCertain ?? false };
}
