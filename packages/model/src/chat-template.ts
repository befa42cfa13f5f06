import { Template } from '@huggingface/jinja';
import { ModelError } from './errors.ts';

export interface ChatMessage {
  role: string;
  content: string;
}

/** A model's own way of turning messages into one text. */
export class ChatTemplate {
  readonly #template: Template;
  readonly #variables: Record<string, unknown>;

  /** `variables` are what templates expect besides messages: `bos_token`, `eos_token`. Throws `bad-template` if it doesn't parse. */
  constructor(source: string, variables: { bos_token?: string; eos_token?: string } = {}) {
    this.#variables = variables;
    try {
      this.#template = new Template(source);
    } catch (cause) {
      throw new ModelError('bad-template', 'chat_template', `chat_template doesn't parse: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  /**
   * The text to continue. Throws a ModelError `bad-template` with the template's own words when it refuses the messages
   * (an unknown role, a wrong order) or fails.
   */
  renderChat(messages: readonly ChatMessage[]): string {
    try {
      return this.#template.render({ ...this.#variables, messages, add_generation_prompt: true });
    } catch (cause) {
      throw new ModelError(
        'bad-template',
        'chat_template',
        `the chat template refuses these messages: ${messageOf(cause)}`,
        { cause },
      );
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
