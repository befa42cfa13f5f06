import {
  type ChatMessage,
  type ChatOptions,
  MarkRunError,
  ModelError,
  type Tokenizer,
  TooManyStepsError,
  TooManyTokensError,
} from '@shoal/model';

export type { ChatMessage };

/** A conversation to render with the model's template. */
export interface Conversation extends ChatOptions {
  messages: readonly ChatMessage[];
}

/** A prompt as it is. */
export interface PlainText {
  text: string;
  /** Whether the tokens that the tokenizer puts before a text precede it; true by default. */
  addsSpecialTokens?: boolean;
  /** Whether those that it puts after a text follow it too, as an encoder needs them. */
  isWhole?: boolean;
}

/** A text, or a conversation to render first, to be turned into at most `maxTokens` ids. */
export type EncodeTask = { maxTokens: number } & (PlainText | Conversation);

/** Why a client's text gave no ids. */
export type TextFault =
  /** It has more tokens than allowed; `bytes` are the text's, with what the template adds. */
  | { reason: 'too-long'; bytes: number }
  /** The model has no template, or its template refuses the messages; the message is for the client. */
  | { reason: 'template'; message: string }
  /** The tokenizer would take too long to normalize it; the message is for the client. */
  | { reason: 'marks'; message: string };

/**
 * `ids` is a copy of its own, so that it can be handed to another thread. `tail` is the end of a conversation's text, from
 * which one sees how the answer begins: inside reasoning, say.
 */
export type EncodeOutcome = { ids: Uint32Array<ArrayBuffer>; tail?: string } | { fault: TextFault };

/** Holds a turn's header and the marker that opens reasoning. */
const TAIL_CHARACTERS = 256;

/** What a message or a tool costs beside its text, in bytes of text: published templates take 25 to 320 µs for each message. */
const MESSAGE_BYTES = 256;

/** What looking at one message for the sake of another costs: some templates do so with all, at 2 to 8 µs each time. */
const SCAN_BYTES = 1;

/** A task's size, which its time is about proportional to. */
export function taskBytes(task: EncodeTask): number {
  if ('text' in task) return Buffer.byteLength(task.text);
  const { messages, tools = [], variables = {} } = task;
  const toolBytes = tools.length * MESSAGE_BYTES + (tools.length === 0 ? 0 : jsonBytes(JSON.stringify(tools)));
  const scanBytes = SCAN_BYTES * messages.length ** 2;
  const variableBytes = Object.keys(variables).length === 0 ? 0 : jsonBytes(JSON.stringify(variables));
  return messages.reduce((sum, message) => sum + messageBytes(message), toolBytes + variableBytes + scanBytes);
}

function messageBytes(message: ChatMessage): number {
  const {
    content,
    name = '',
    tool_calls: calls = [],
    reasoning_content: reasoning = '',
    tool_call_id: id = '',
  } = message;
  const own = [content ?? '', name, reasoning, id].reduce((sum, text) => sum + Buffer.byteLength(text), MESSAGE_BYTES);
  return calls.reduce(
    (sum, call) => sum + MESSAGE_BYTES + Buffer.byteLength(call.function.name) + jsonBytes(call.function.arguments),
    own,
  );
}

/** Some templates print JSON over lines, each indented by this for each level around it. */
const INDENT_BYTES = 4;

/** The most bytes that a template makes of JSON: levels within levels take many times their own. */
function jsonBytes(json: string): number {
  let bytes = Buffer.byteLength(json);
  let depth = 0;
  let isString = false;
  for (let at = 0; at < json.length; at++) {
    const unit = json[at]!;
    if (isString) {
      if (unit === '\\') at++;
      else if (unit === '"') isString = false;
    } else if (unit === '"') isString = true;
    else if (',[]{}'.includes(unit)) {
      if ('[{'.includes(unit)) depth++;
      else if (unit !== ',') depth = Math.max(0, depth - 1);
      bytes += 1 + INDENT_BYTES * depth;
    }
  }
  return bytes;
}

/** Runs a task on the calling thread. Throws only for faults that are not the client's. */
export function encodeNow(tokenizer: Tokenizer, task: EncodeTask): EncodeOutcome {
  if ('text' in task) return encodeText(tokenizer, task);
  const text = render(tokenizer, task);
  return typeof text === 'string' ? encodeRendered(tokenizer, text, task) : { fault: text };
}

/** As `render`; undefined if it takes more than so many steps. */
export function renderWithin(
  tokenizer: Tokenizer,
  conversation: Conversation,
  maxSteps: number,
): string | TextFault | undefined {
  try {
    return render(tokenizer, { ...conversation, maxSteps });
  } catch (thrown) {
    if (thrown instanceof TooManyStepsError) return undefined;
    throw thrown;
  }
}

/** The text of a conversation as a task. A template writes the special tokens that it begins with itself. */
export const renderedTask = (text: string, { maxTokens }: EncodeTask): EncodeTask & PlainText => ({
  text,
  addsSpecialTokens: false,
  maxTokens,
});

/** What the task of a conversation's text gives, as what the conversation gives. */
export const withTail = (text: string, outcome: EncodeOutcome): EncodeOutcome =>
  'ids' in outcome ? { ids: outcome.ids, tail: text.slice(-TAIL_CHARACTERS) } : outcome;

/** Tokenizes the text that was made of a conversation. */
export const encodeRendered = (tokenizer: Tokenizer, text: string, task: EncodeTask): EncodeOutcome =>
  withTail(text, encodeText(tokenizer, renderedTask(text, task)));

function encodeText(
  tokenizer: Tokenizer,
  { text, addsSpecialTokens, isWhole, maxTokens }: EncodeTask & PlainText,
): EncodeOutcome {
  try {
    const isPrompt = addsSpecialTokens !== false;
    const prompt = (): number[] =>
      (isWhole ? tokenizer.encodeWhole : tokenizer.encodePrompt).call(tokenizer, text, maxTokens);
    const list = isPrompt ? prompt() : tokenizer.encode(text, maxTokens);
    return { ids: Uint32Array.from(list) };
  } catch (thrown) {
    if (thrown instanceof MarkRunError) return { fault: { reason: 'marks', message: thrown.message } };
    if (!(thrown instanceof TooManyTokensError)) throw thrown;
    return { fault: { reason: 'too-long', bytes: Buffer.byteLength(text) } };
  }
}

function render(tokenizer: Tokenizer, { messages, ...options }: Conversation): string | TextFault {
  const template = tokenizer.chatTemplate;
  if (!template) return { reason: 'template', message: 'this model has no chat template; use /v1/completions' };
  try {
    return template.renderChat(messages, options);
  } catch (thrown) {
    if (!(thrown instanceof ModelError && thrown.reason === 'bad-template')) throw thrown;
    return { reason: 'template', message: thrown.message };
  }
}
