import { MarkRunError, ModelError, type Tokenizer, TooManyTokensError } from '@shoal/model';

/** A chat message as the template takes it, with its content parts joined. */
export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
  name?: string;
}

/** A text, or a conversation to render with the model's template first, to be turned into at most `maxTokens` ids. */
export type EncodeTask = { maxTokens: number } & ({ text: string } | { messages: readonly ChatMessage[] });

/** Why a client's text gave no ids. */
export type TextFault =
  /** It has more tokens than allowed; `bytes` are the text's, with what the template adds. */
  | { reason: 'too-long'; bytes: number }
  /** The model has no template, or its template refuses the messages; the message is for the client. */
  | { reason: 'template'; message: string }
  /** The tokenizer would take too long to normalize it; the message is for the client. */
  | { reason: 'marks'; message: string };

/** `ids` is a copy of its own, so that it can be handed to another thread. */
export type EncodeOutcome = { ids: Uint32Array<ArrayBuffer> } | { fault: TextFault };

/** What a message costs beside its text, in bytes of text: published templates take 25 to 320 µs for each message. */
const MESSAGE_BYTES = 256;

/** A task's size, which its time is about proportional to. */
export function taskBytes(task: EncodeTask): number {
  if ('text' in task) return Buffer.byteLength(task.text);
  return task.messages.reduce(
    (sum, { content, name = '' }) => sum + MESSAGE_BYTES + Buffer.byteLength(content) + Buffer.byteLength(name),
    0,
  );
}

/** Runs a task on the calling thread. Throws only for faults that are not the client's. */
export function encodeNow(tokenizer: Tokenizer, task: EncodeTask): EncodeOutcome {
  const text = 'text' in task ? task.text : render(tokenizer, task.messages);
  if (typeof text !== 'string') return { fault: text };
  try {
    // A template writes the special tokens that a conversation begins with itself, so a second begin-of-text would be one too many.
    const isPrompt = 'text' in task;
    const ids = isPrompt ? tokenizer.encodePrompt(text, task.maxTokens) : tokenizer.encode(text, task.maxTokens);
    return { ids: Uint32Array.from(ids) };
  } catch (thrown) {
    if (thrown instanceof MarkRunError) return { fault: { reason: 'marks', message: thrown.message } };
    if (!(thrown instanceof TooManyTokensError)) throw thrown;
    return { fault: { reason: 'too-long', bytes: Buffer.byteLength(text) } };
  }
}

function render(tokenizer: Tokenizer, messages: readonly ChatMessage[]): string | TextFault {
  const template = tokenizer.chatTemplate;
  if (!template) return { reason: 'template', message: 'this model has no chat template; use /v1/completions' };
  try {
    return template.renderChat(messages);
  } catch (thrown) {
    if (!(thrown instanceof ModelError && thrown.reason === 'bad-template')) throw thrown;
    return { reason: 'template', message: thrown.message };
  }
}
