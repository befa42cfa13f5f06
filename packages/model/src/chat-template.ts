import { Template } from '@huggingface/jinja';
import { messageOf, ModelError } from './errors.ts';

export interface ChatMessage {
  role: string;
  content: string;
}

/** A model's own template, which turns messages into one text. */
export class ChatTemplate {
  readonly #template: Template;
  readonly #variables: Record<string, unknown>;

  /** `variables` are the other values that templates use. Throws a ModelError `bad-template` if `source` doesn't parse. */
  constructor(source: string, variables: { bos_token?: string; eos_token?: string } = {}) {
    this.#variables = variables;
    try {
      this.#template = new Template(source);
    } catch (cause) {
      const message = `chat_template doesn't parse: ${messageOf(cause)}`;
      throw new ModelError('bad-template', 'chat_template', message, { cause });
    }
  }

  /** The text to continue. Throws a ModelError `bad-template` with the template's message if it rejects the roles or their order. */
  renderChat(messages: readonly ChatMessage[]): string {
    try {
      return this.#template.render({ ...this.#variables, messages, add_generation_prompt: true });
    } catch (cause) {
      const message = `the chat template refuses these messages: ${messageOf(cause)}`;
      throw new ModelError('bad-template', 'chat_template', message, { cause });
    }
  }
}
