import type { OutputEvent } from './output-parser.ts';

/** Collects what a reader finds. White space around reasoning and around calls is layout, which is left out. */
export class AnswerEvents {
  readonly #maxCalls: number;
  #events: OutputEvent[] = [];
  #calls = 0;
  /** White space at the end of the content so far, which is dropped if a call follows. */
  #held = '';
  #heldReasoning = '';
  #hasReasoning = false;
  /** Whether a call was not whole. */
  hasBroken = false;
  /** Characters of the latest call's arguments. */
  #argumentLength = 0;

  constructor(maxCalls: number) {
    this.#maxCalls = maxCalls;
  }

  /** Calls so far, with those that are left out. */
  get calls(): number {
    return this.#calls;
  }

  content(text: string): void {
    const trimmed = text.trimEnd();
    if (trimmed === '') this.#held += text;
    else {
      this.#add({ type: 'content', text: this.#held + trimmed });
      this.#held = text.slice(trimmed.length);
    }
  }

  reasoning(text: string): void {
    const trimmed = text.trimEnd();
    if (trimmed === '') this.#heldReasoning += text;
    else {
      const whole = this.#heldReasoning + trimmed;
      this.#add({ type: 'reasoning', text: this.#hasReasoning ? whole : whole.trimStart() });
      this.#hasReasoning = true;
      this.#heldReasoning = text.slice(trimmed.length);
    }
  }

  /** The next reasoning is a part of its own. */
  endReasoning(): void {
    this.#heldReasoning = this.#hasReasoning ? '\n' : '';
  }

  call(name: string, id?: string): void {
    this.#held = '';
    this.#calls++;
    this.#argumentLength = 0;
    if (this.#calls > this.#maxCalls) return;
    this.#add({ type: 'call', index: this.#calls - 1, name, ...(id === undefined ? {} : { id }) });
  }

  /** More of the latest call's arguments. */
  arguments(text: string): void {
    if (text === '') return;
    this.#argumentLength += text.length;
    if (this.#calls <= this.#maxCalls) this.#add({ type: 'arguments', index: this.#calls - 1, text });
  }

  /** The latest call is whole. */
  endCall(): void {
    if (this.#argumentLength === 0) this.arguments('{}');
  }

  /** The latest call is not whole. */
  breakCall(text: string, isCut: boolean): void {
    this.hasBroken = true;
    if (this.#calls <= this.#maxCalls) this.#add({ type: 'broken', index: this.#calls - 1, text, isCut });
  }

  /** The answer has ended. */
  finish(): void {
    if (this.#calls === 0 && this.#held !== '') this.#add({ type: 'content', text: this.#held });
    this.#held = '';
  }

  take(): OutputEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** Adds an event, or lengthens the last one. */
  #add(event: OutputEvent): void {
    const last = this.#events.at(-1);
    const isSame = last?.type === event.type && 'text' in last && 'text' in event;
    if (isSame && (event.type !== 'arguments' || event.index === (last as { index: number }).index)) {
      last.text += event.text;
    } else this.#events.push(event);
  }
}
