export interface StoryRequest {
  model: string;
  prompt: string;
  maxTokens: number;
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

/** Requests one streamed completion through the public API. */
export async function streamStory(url: string, request: StoryRequest, onText: (text: string) => void): Promise<Story> {
  const startedMs = performance.now();
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    signal: request.signal,
    body: JSON.stringify({
      model: request.model,
      prompt: request.prompt,
      max_tokens: request.maxTokens,
      temperature: request.temperature,
      seed: request.seed,
      stream: true,
      stream_options: { include_usage: true },
    }),
  });
  if (!response.ok || !response.body) throw new Error(`The API answered ${response.status}: ${await response.text()}`);
  const story: Story = { text: '', tokens: 0, firstTokenMs: 0, totalMs: 0 };
  let done = false;
  for await (const data of serverSentData(response.body)) {
    if (data === '[DONE]') {
      done = true;
      break;
    }
    const chunk = JSON.parse(data) as {
      error?: { message: string };
      choices?: { text: string }[];
      usage?: { completion_tokens: number } | null;
    };
    if (chunk.error) throw new Error(`The story broke off: ${chunk.error.message}`);
    const text = chunk.choices?.[0]?.text ?? '';
    if (text !== '') story.firstTokenMs ||= performance.now() - startedMs;
    story.text += text;
    onText(text);
    if (chunk.usage) story.tokens = chunk.usage.completion_tokens;
  }
  if (!done) throw new Error('The stream ended without [DONE].');
  story.totalMs = performance.now() - startedMs;
  return story;
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
