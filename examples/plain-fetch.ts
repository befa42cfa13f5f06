// What openai-client.ts does, with `fetch` alone: node --import tsx examples/plain-fetch.ts [http://127.0.0.1:8787]
import { argv, env, stdout } from 'node:process';

const url = argv[2] ?? 'http://127.0.0.1:8787';
const authorization = `Bearer ${env.SHOAL_API_KEY ?? 'none'}`;

function post(path: string, body: object): Promise<Response> {
  return fetch(`${url}/v1/${path}`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

async function json<T>(answer: Response): Promise<T> {
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as T;
}

interface Usage {
  completion_tokens: number;
}
interface Completion {
  choices: { text: string }[];
  usage: Usage;
}
interface ChatChunk {
  choices: { delta: { content?: string } }[];
  usage?: Usage | null;
}

const models = await json<{ data: { id: string }[] }>(await fetch(`${url}/v1/models`, { headers: { authorization } }));
const model = models.data[0]!.id;
console.log(`model: ${model}`);

const completion = await json<Completion>(
  await post('completions', { model, prompt: 'Once upon a time', max_tokens: 32, seed: 1 }),
);
console.log(`completion: ${completion.choices[0]!.text}`);
console.log(`tokens: ${completion.usage.completion_tokens}`);

const stream = await post('chat/completions', {
  model,
  messages: [{ role: 'user', content: 'The old boat' }],
  max_completion_tokens: 32,
  seed: 1,
  stream: true,
  stream_options: { include_usage: true },
});
stdout.write('chat: ');
for await (const chunk of chunks(stream)) {
  stdout.write(chunk.choices[0]?.delta.content ?? '');
  if (chunk.usage) console.log(`\ntokens: ${chunk.usage.completion_tokens}`);
}

const refused = await post('completions', { model: 'another', prompt: 'Once', max_tokens: 1 });
const { error } = (await refused.json()) as { error: { code: string } };
console.log(`error: ${refused.status} ${error.code}`);

/** Server-sent events: `data: {…}`, each followed by an empty line; lines that begin with a colon are keep-alives. */
async function* chunks(answer: Response): AsyncGenerator<ChatChunk> {
  let unread = '';
  for await (const text of answer.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (unread + text).split('\n');
    unread = lines.pop()!;
    for (const line of lines) {
      if (!line.startsWith('data: ')) continue;
      if (line === 'data: [DONE]') return;
      const event = JSON.parse(line.slice('data: '.length)) as ChatChunk & { error?: { message: string } };
      // An error after the answer has begun is an event too.
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}
