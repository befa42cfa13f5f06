import { ModelError, type Tokenizer } from '@shoal/model';

/** A chat message as the template takes it, with its content parts joined. */
export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
  name?: string;
}

/** Turns ids into text one by one, and holds back the bytes of incomplete characters. */
export interface StreamDetokenizer {
  push(id: number): string;
  flush(): string;
}

/** A tokenizer as the HTTP server uses it. */
export interface TextCodec {
  /** Ids 0 to vocabSize − 1 are valid in a prompt given as tokens. */
  readonly vocabSize: number;
  /** UTF-8 bytes of the longest token. A text of more than maxContext × this is too long and is not tokenized. */
  readonly maxTokenBytes: number;
  /** With the model's begin-of-text token where it has one. */
  encodePrompt(text: string): number[];
  /** A token's bytes, or its name for a special token. */
  tokenBytes(id: number): Uint8Array;
  newDetokenizer(): StreamDetokenizer;
  /** Throws a ChatTemplateError where the model has no template or its template refuses these messages. */
  renderChat(messages: readonly ChatMessage[]): string;
}

/** The model's template cannot render a conversation. The message is for the client that sent it. */
export class ChatTemplateError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ChatTemplateError';
  }
}

export function tokenizerCodec(tokenizer: Tokenizer): TextCodec {
  let maxTokenBytes = 1;
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    maxTokenBytes = Math.max(maxTokenBytes, tokenizer.tokenBytes(id).length);
  }
  return {
    vocabSize: tokenizer.vocabSize,
    maxTokenBytes,
    encodePrompt: (text) => tokenizer.encodePrompt(text),
    tokenBytes: (id) => tokenizer.tokenBytes(id),
    newDetokenizer: () => tokenizer.detokenizer(),
    renderChat: (messages) => renderChat(tokenizer, messages),
  };
}

function renderChat(tokenizer: Tokenizer, messages: readonly ChatMessage[]): string {
  const template = tokenizer.chatTemplate;
  if (!template) throw new ChatTemplateError('this model has no chat template; use /v1/completions');
  try {
    return template.renderChat(messages);
  } catch (thrown) {
    if (thrown instanceof ModelError && thrown.reason === 'bad-template') throw new ChatTemplateError(thrown.message);
    throw thrown;
  }
}

/**
 * A token's name in OpenAI's logprobs: its text, or `bytes:\xf0\x9f` where its bytes are not whole characters, so that
 * tokens do not share the name U+FFFD.
 */
export function tokenName(codec: TextCodec, id: number): string {
  const bytes = codec.tokenBytes(id);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return 'bytes:' + Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
  }
}
