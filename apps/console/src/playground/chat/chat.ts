import { signal } from '@preact/signals';
import type { Fault } from '../chunk.ts';
import { focusSoon, makeForm, setField } from '../form.ts';
import { loadModel } from '../model.ts';
import { unfold } from '../parameters/Parameters.tsx';
import { fieldOfParameter } from '../parameters/read.ts';
import { Runner } from '../run.ts';
import {
  asksForAnswer,
  type ChatBody,
  chatBody,
  type ChatValues,
  initialChat,
  messagesOf,
  missingResult,
  readSettings,
  type Source,
} from './chat-request.ts';
import { keepTurns, newKey, removed, turnOf, turns } from './conversation.ts';

export const form = makeForm<keyof ChatValues>('shoal-chat-form', initialChat);
export const runner = new Runner<ChatBody>('/v1/chat/completions');
/** What is wrong with turns and results, by the id of the element that shows it. */
export const turnFaults = signal<Record<string, string>>({});
/** Where the last error is shown, if that is at a field: its id. */
export const shownAt = signal<string | null>(null);

/** Sends the typed message, or what the conversation waits for, and takes the answer into the conversation. */
export async function send({ keepsRemoved = false } = {}): Promise<void> {
  if (runner.run.value?.state === 'running') return;
  const { message } = form.values.value;
  const missing = missingResult(turns.value);
  if (missing !== null) {
    turnFaults.value = { [missing]: 'Type what the tool returns.' };
    return focusSoon(missing);
  }
  const read = readSettings(form.values.value);
  const isEmpty = message === '' && !asksForAnswer(turns.value);
  form.faults.value = { ...(isEmpty && { message: 'Type a message.' }), ...(read.ok ? {} : read.faults) };
  turnFaults.value = {};
  const [wrong] = Object.keys(form.faults.value);
  if (wrong !== undefined) return focusField(wrong);
  const facts = await loadModel();
  if (!facts || !read.ok) return;
  if (message !== '') {
    turns.value = [...turns.value, { key: newKey(), role: 'user', content: message }];
    setField(form, 'message', '');
  }
  if (!keepsRemoved) removed.value = null;
  await ask(facts.id, read.settings);
}

async function ask(model: string, settings: Record<string, unknown>): Promise<void> {
  shownAt.value = null;
  const { messages, sources } = messagesOf(form.values.value.system, turns.value);
  const run = await runner.start(chatBody(model, messages, settings));
  // A new chat has been begun meanwhile.
  if (runner.run.value !== run) return;
  const turn = turnOf(run, newKey());
  if (turn) turns.value = [...turns.value, turn];
  if (run.fault) showFault(run.fault, sources);
}

/** Asks for another answer instead of the last. */
export async function answerAgain(): Promise<void> {
  const last = turns.value.at(-1);
  if (last?.role !== 'assistant') return;
  keepTurns((turn) => turn !== last);
  await send({ keepsRemoved: true });
}

export function newChat(): void {
  keepTurns(() => false);
  runner.clear();
  turnFaults.value = {};
  focusSoon('field-message');
}

/** Shows an error at the field that it names; where there is none, the run's own place shows it. */
function showFault({ message, param }: Fault, sources: readonly Source[]): void {
  if (param === null) return;
  const field = fieldOfParameter(param);
  const index = /^messages(?:\[|\.)(\d+)/.exec(param)?.[1];
  const source = index === undefined ? undefined : sources[Number(index)];
  if (typeof source === 'number') {
    shownAt.value = `turn-${source}`;
    turnFaults.value = { [shownAt.value]: message };
    focusSoon(shownAt.value);
  } else if (source === 'system' || Object.hasOwn(form.values.value, field)) {
    const name = (source ?? field) as keyof ChatValues;
    shownAt.value = `field-${name}`;
    form.faults.value = { [name]: message };
    focusField(name);
  }
}

function focusField(name: string): void {
  unfold(name);
  focusSoon(`field-${name}`);
}
