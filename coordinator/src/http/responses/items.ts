import { randomUUID } from 'node:crypto';
import { callArguments } from '../call-arguments.ts';
import type { TextCodec } from '../codec.ts';
import type { AnswerPart } from '../parts.ts';
import { namedLogprobs } from '../shapes/shape.ts';
import type { OutputToken } from '../choice.ts';
import type { OutputItem } from './documents.ts';
import type { Namespaces } from './namespaces.ts';

const PREFIXES = { content: 'msg_', reasoning: 'rs_', call: 'fc_' };

export function newId(prefix: string): string {
  return prefix + randomUUID().replaceAll('-', '');
}

/** How the items of one answer are written. */
export interface ItemOptions {
  codec: TextCodec;
  withLogprobs: boolean;
  /** Whether reasoning is written as a summary, which is what programs read that ask for one. */
  asSummary: boolean;
  namespaces: Namespaces;
}

/** Writes the parts of one answer as items, each with an id of its own. */
export class ItemWriter {
  readonly options: ItemOptions;
  readonly #ids: string[] = [];

  constructor(options: ItemOptions) {
    this.options = options;
  }

  idOf(index: number, { type }: AnswerPart): string {
    return (this.#ids[index] ??= newId(PREFIXES[type]));
  }

  /** A part that is just beginning is an item without content. */
  begun(index: number, part: AnswerPart): OutputItem {
    const item = this.item(index, part, 'in_progress');
    if (item.type === 'function_call') return { ...item, arguments: '' };
    if (item.type === 'reasoning') return { ...item, summary: [], content: [] };
    return { ...item, content: [] };
  }

  /** `asked` is the status of a part that is whole; a call that was cut off is incomplete. */
  item(index: number, part: AnswerPart, asked: OutputItem['status']): OutputItem {
    const isCut = part.type === 'call' && asked === 'completed' && !callArguments(part.arguments);
    const status = isCut ? 'incomplete' : asked;
    const id = this.idOf(index, part);
    switch (part.type) {
      case 'content':
        return { id, type: 'message', status, role: 'assistant', content: [this.textPart(part.text, part.tokens)] };
      case 'reasoning': {
        const summary = this.options.asSummary ? [{ type: 'summary_text' as const, text: part.text }] : [];
        const content = this.options.asSummary ? [] : [{ type: 'reasoning_text' as const, text: part.text }];
        return { id, type: 'reasoning', status, summary, content, encrypted_content: null };
      }
      case 'call': {
        const { id: callId, name, arguments: text } = part;
        const own = this.options.namespaces.get(name) ?? { name };
        return { id, type: 'function_call', status, call_id: callId, ...own, arguments: text };
      }
      default:
        return part satisfies never;
    }
  }

  textPart(text: string, tokens: readonly OutputToken[]) {
    return { type: 'output_text' as const, text, annotations: [], logprobs: this.logprobs(tokens) };
  }

  logprobs(tokens: readonly OutputToken[]) {
    const { codec, withLogprobs } = this.options;
    if (!withLogprobs) return [];
    // Special tokens are no part of the text.
    const shown = tokens.filter(({ tokenId }) => codec.specialText(tokenId) === undefined);
    return shown.map((token) => namedLogprobs(token, codec));
  }
}
