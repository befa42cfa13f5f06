import { batch, signal } from '@preact/signals';
import type { Fault } from '../chunk.ts';
import { focusSoon, makeForm, setField } from '../form.ts';
import { askedModel, loadModel } from '../model.ts';
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
  turnField,
} from './chat-request.ts';
import { isEmptyTurn, keepTurns, newKey, removed, turnOf, turns } from './conversation.ts';

export const form = makeForm<keyof ChatValues>('shoal-chat-form', initialChat);
export const runner = new Runner<ChatBody>('./v1/chat/completions');
/** What is wrong with turns and results, by the id of the element that shows it. */
export const turnFaults = signal<Record<string, string>>({});
/** Where the last error is shown, if that is at a field: its id. */
export const shownAt = signal<string | null>(null);
/** The key of the turn that is coming, which it keeps in the conversation; 0 if none is. */
export const liveKey = signal(0);
let isSending = false;

/** Sends the typed message, or what the conversation waits for, and takes the answer into the conversation. */
export async function send({ keepsRemoved = false } = {}): Promise<void> {
  if (isSending || runner.run.value?.state === 'running') return;
  const settings = readForm();
  if (!settings) return;
  isSending = true;
  const facts = await loadModel().finally(() => (isSending = false));
  if (!facts) return;
  const { message } = form.values.value;
  if (message !== '') {
    turns.value = [...turns.value, { key: newKey(), role: 'user', content: message }];
    setField(form, 'message', '');
  }
  if (!keepsRemoved) removed.value = null;
  await ask(askedModel.value, settings);
}

/** What goes with the messages of a request; null if something is wrong, which is shown at its field. */
function readForm(): Record<string, unknown> | null {
  const missing = missingResult(turns.value);
  turnFaults.value = missing === null ? {} : { [missing]: 'Type what the tool returns.' };
  const read = readSettings(form.values.value);
  const isEmpty = form.values.value.message === '' && missing === null && !asksForAnswer(turns.value);
  form.faults.value = { ...(isEmpty && { message: 'Type a message.' }), ...(read.ok ? {} : read.faults) };
  const [wrong] = Object.keys(form.faults.value);
  if (missing !== null) focusSoon(missing);
  else if (wrong !== undefined) focusField(wrong);
  return missing === null && wrong === undefined && read.ok ? read.settings : null;
}

async function ask(model: string, settings: Record<string, unknown>): Promise<void> {
  shownAt.value = null;
  liveKey.value = newKey();
  const { messages, sources } = messagesOf(form.values.value.system, turns.value);
  const run = await runner.start(chatBody(model, messages, settings));
  // A new chat has been begun meanwhile.
  if (runner.run.value !== run) return;
  const turn = turnOf(run, liveKey.value);
  // At once, since what is drawn in between would lose the focus and fold what was unfolded.
  batch(() => {
    if (!isEmptyTurn(turn)) turns.value = [...turns.value, turn];
    liveKey.value = 0;
  });
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
  liveKey.value = 0;
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
    shownAt.value = turnField(source);
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
