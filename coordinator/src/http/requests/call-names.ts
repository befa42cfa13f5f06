import type { ChatRequestMessage } from './chat-schema.ts';

/** The functions that were called, by the ids of the calls, since some templates want the function's name beside its result. */
export class CallNames {
  readonly #names = new Map<string, string>();

  add(id: string, name: string): void {
    this.#names.set(id, name);
  }

  /** A call's result as a message. */
  result(id: string, content: string): ChatRequestMessage {
    return { role: 'tool', tool_call_id: id, name: this.#names.get(id), content };
  }
}
