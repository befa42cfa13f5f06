import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { formatNumber } from '../format.ts';
import { Shell } from '../Shell.tsx';
import { keyWanted } from './api-key.ts';
import { ChatMode } from './chat/ChatMode.tsx';
import { EmbedMode } from './embed/EmbedMode.tsx';
import { KeyField } from './KeyField.tsx';
import { loadModel, model, type ModelFacts } from './model.ts';
import { TextMode } from './text/TextMode.tsx';

type Mode = 'text' | 'chat';

const modeOfAddress = (): Mode => (location.hash === '#chat' ? 'chat' : 'text');
const mode = signal<Mode>(modeOfAddress());
addEventListener('hashchange', () => (mode.value = modeOfAddress()));

function choose(chosen: Mode): void {
  mode.value = chosen;
  // So that the address, and a reload, lead to the same mode; going back leads to the page before.
  history.replaceState(null, '', `#${chosen}`);
}

const modes = [
  { value: 'text', name: 'Text', what: 'The model continues a text: POST /v1/completions.' },
  { value: 'chat', name: 'Chat', what: 'A conversation: POST /v1/chat/completions.' },
] as const;

const EMBEDDINGS = 'This model makes embeddings of texts, and no text: POST /v1/embeddings.';

export function PlaygroundPage() {
  useEffect(() => void loadModel(), []);
  const { facts, error } = model.value;
  const isEncoder = facts !== null && facts.dimensions !== null;
  return (
    <Shell
      current="/playground"
      aside={
        facts && (
          <span class="model">
            <b>{facts.id}</b>
          </span>
        )
      }
    >
      <h1 class="sr">Playground</h1>
      <div class="playground-top">
        {!isEncoder && <Modes />}
        <p class="muted">
          {isEncoder ? EMBEDDINGS : modes.find(({ value }) => value === mode.value)?.what}{' '}
          {facts && <Facts facts={facts} mode={mode.value} />}
        </p>
      </div>
      {keyWanted.value && <KeyField onKey={() => void loadModel({ again: true })} />}
      {error && (
        <p class="trouble" role="alert">
          {error}
        </p>
      )}
      {isEncoder ? <EmbedMode /> : mode.value === 'chat' ? <ChatMode /> : <TextMode />}
    </Shell>
  );
}

function Modes() {
  return (
    <fieldset class="modes">
      <legend class="sr">Mode</legend>
      {modes.map(({ value, name }) => (
        <label>
          <input type="radio" name="mode" checked={mode.value === value} onChange={() => choose(value)} />
          {name}
        </label>
      ))}
    </fieldset>
  );
}

/** What the served model can do, in a line. */
function Facts({ facts, mode }: { facts: ModelFacts; mode: Mode }) {
  const isChat = mode === 'chat' && facts.tools !== null && facts.dimensions === null;
  const parts = [
    facts.contextTokens !== null && `context ${formatNumber(facts.contextTokens)} tokens`,
    facts.dimensions !== null && `${formatNumber(facts.dimensions)} values an embedding`,
    isChat &&
      (facts.tools === 'template'
        ? `tools by the model’s template (${facts.convention})`
        : 'tools described in a message'),
    isChat && (facts.reasons ? 'reasoning' : 'no reasoning'),
  ].filter((part) => part !== false);
  return parts.length > 0 ? <span class="facts">This model: {parts.join(' · ')}.</span> : null;
}
