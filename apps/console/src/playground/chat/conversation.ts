import { signal } from '@preact/signals';
import { fields, list, number, text } from '../chunk.ts';
import { kept } from '../form.ts';
import type { Run } from '../run.ts';

export interface ToolCall {
  id: string;
  name: string;
  /** JSON, if the model wrote it well. */
  arguments: string;
  /** What a person typed as the tool's result. */
  result: string;
}

export interface UserTurn {
  key: number;
  role: 'user';
  content: string;
}

export interface AssistantTurn {
  key: number;
  role: 'assistant';
  content: string;
  reasoning: string;
  reasoningTokens: number;
  calls: ToolCall[];
  /** Whether a JSON Schema was asked for. */
  asJson: boolean;
}

export type Turn = UserTurn | AssistantTurn;

export const turns = kept<Turn[]>('shoal-chat-turns', [], (stored) => list(stored).map(readTurn));
/** What the last removal took away, to bring it back. */
export const removed = signal<Turn[] | null>(null);

let lastKey = Math.max(0, ...turns.value.map(({ key }) => key));
export const newKey = (): number => ++lastKey;

function readTurn(stored: unknown, key: number): Turn {
  const turn = fields(stored);
  const content = text(turn['content']);
  if (turn['role'] === 'user') return { key, role: 'user', content };
  const calls = list(turn['calls']).map((value) => {
    const call = fields(value);
    return {
      id: text(call['id']),
      name: text(call['name']),
      arguments: text(call['arguments']),
      result: text(call['result']),
    };
  });
  return {
    key,
    role: 'assistant',
    content,
    reasoning: text(turn['reasoning']),
    reasoningTokens: number(turn['reasoningTokens']),
    calls,
    asJson: turn['asJson'] === true,
  };
}

/** Applies a change to one turn. */
export function changeTurn<T extends Turn>(turn: T, change: Partial<T>): void {
  turns.value = turns.value.map((other) => (other.key === turn.key ? { ...other, ...change } : other));
}

export function setResult(turn: AssistantTurn, at: number, result: string): void {
  changeTurn(turn, { calls: turn.calls.map((call, i) => (i === at ? { ...call, result } : call)) });
}

/** Leaves the turns that `keep` takes; the others can be brought back until the next request. */
export function keepTurns(keep: (turn: Turn) => boolean): void {
  removed.value = turns.value;
  turns.value = turns.value.filter(keep);
}

/** Puts the removed turns back in their places; what was changed or added since stays. */
export function bringBack(): void {
  const before = removed.value ?? [];
  const now = new Map(turns.value.map((turn) => [turn.key, turn]));
  const old = new Set(before.map(({ key }) => key));
  turns.value = [...before.map((turn) => now.get(turn.key) ?? turn), ...turns.value.filter(({ key }) => !old.has(key))];
  removed.value = null;
}

/** The turn that a run has made so far. */
export function turnOf(run: Run<{ response_format?: unknown }>, key: number): AssistantTurn {
  const { text: content, reasoning, reasoningTokens, body } = run;
  const calls = run.calls.map(({ id, name, arguments: given }) => ({ id, name, arguments: given, result: '' }));
  const asJson = body.response_format !== undefined;
  return { key, role: 'assistant', content, reasoning, reasoningTokens, calls, asJson };
}

export function isEmptyTurn({ content, reasoning, calls }: AssistantTurn): boolean {
  return content === '' && reasoning === '' && calls.length === 0;
}
