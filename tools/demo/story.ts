import { sentenceEnd } from './sentences.ts';

/** What the last sentence may take beyond the story's length. */
const SENTENCE_TOKENS = 60;

export interface StoryRequest {
  model: string;
  prompt: string;
  /** The sentence in which this is reached is finished, if the context has room for it. */
  maxTokens: number;
  /** Tokens that prompt and story may have together. */
  maxContext: number;
  temperature: number;
  seed: number;
  signal: AbortSignal;
}

export interface Story {
  text: string;
  tokens: number;
  firstTokenMs: number;
  totalMs: number;
}

/** Requests one streamed completion through the public API, up to the end of a sentence. */
export async function streamStory(url: string, request: StoryRequest, onText: (text: string) => void): Promise<Story> {
  const startedMs = performance.now();
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    signal: request.signal,
    body: JSON.stringify({
      model: request.model,
      prompt: request.prompt,
      max_tokens: longest(request),
      temperature: request.temperature,
      seed: request.seed,
      stream: true,
      stream_options: { include_usage: true, continuous_usage_stats: true },
    }),
  });
  if (!response.ok || !response.body) throw new Error(`The API answered ${response.status}: ${await response.text()}`);
  const story: Story = { text: '', tokens: 0, firstTokenMs: 0, totalMs: 0 };
  let done = false;
  let printed = 0;
  /** Where the text was when it had become long enough. */
  let longEnough: number | undefined;
  for await (const data of serverSentData(response.body)) {
    done = data === '[DONE]';
    if (done) break;
    const chunk = JSON.parse(data) as {
      error?: { message: string };
      choices?: { text: string }[];
      usage?: { completion_tokens: number } | null;
    };
    if (chunk.error) throw new Error(`The story broke off: ${chunk.error.message}`);
    const text = chunk.choices?.[0]?.text ?? '';
    if (text !== '') story.firstTokenMs ||= performance.now() - startedMs;
    story.text += text;
    if (chunk.usage) story.tokens = chunk.usage.completion_tokens;
    if (story.tokens >= request.maxTokens) longEnough ??= story.text.length;
    const end = longEnough === undefined ? undefined : sentenceEnd(story.text, longEnough);
    if (end !== undefined) story.text = story.text.slice(0, end);
    onText(story.text.slice(printed));
    printed = story.text.length;
    // Leaving the loop closes the connection, which ends the request.
    done = end !== undefined;
    if (done) break;
  }
  if (!done) throw new Error('The stream ended without [DONE].');
  story.totalMs = performance.now() - startedMs;
  return story;
}

function longest({ prompt, maxTokens, maxContext }: StoryRequest): number {
  // A prompt has at most a token for each of its bytes, and one at its beginning.
  const room = maxContext - Buffer.byteLength(prompt) - 1;
  return Math.max(maxTokens, Math.min(maxTokens + SENTENCE_TOKENS, room));
}

/** The data of each server-sent event. */
export async function* serverSentData(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let buffered = '';
  for await (const bytes of body as unknown as AsyncIterable<Uint8Array>) {
    buffered += decoder.decode(bytes, { stream: true });
    const lines = buffered.split('\n');
    buffered = lines.pop()!;
    for (const line of lines) if (line.startsWith('data: ')) yield line.slice('data: '.length).trim();
  }
}
