// Completions and chat with OpenAI's own client: node --import tsx examples/openai-client.ts [http://127.0.0.1:8787]
import OpenAI from 'openai';

const url = process.argv[2] ?? 'http://127.0.0.1:8787';
// The client insists on a key; a coordinator that asks for none accepts any.
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.SHOAL_API_KEY ?? 'none' });

// A coordinator serves one model.
const [served] = (await client.models.list()).data;
const model = served!.id;
console.log(`model: ${model}`);

// The same request with the same seed gives the same tokens, whichever tabs compute them.
const completion = await client.completions.create({ model, prompt: 'Once upon a time', max_tokens: 32, seed: 1 });
console.log(`completion: ${completion.choices[0]!.text}`);
console.log(`tokens: ${completion.usage!.completion_tokens}`);

// Streamed: text arrives as it is generated, and `usage` in a last chunk that has no choices.
const stream = await client.chat.completions.create({
  model,
  messages: [{ role: 'user', content: 'The old boat' }],
  max_completion_tokens: 32,
  seed: 1,
  stream: true,
  stream_options: { include_usage: true },
});
process.stdout.write('chat: ');
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta.content ?? '');
  if (chunk.usage) console.log(`\ntokens: ${chunk.usage.completion_tokens}`);
}

// Errors have OpenAI's classes, statuses and bodies.
try {
  await client.completions.create({ model: 'another', prompt: 'Once', max_tokens: 1 });
} catch (error) {
  if (!(error instanceof OpenAI.NotFoundError)) throw error;
  console.log(`error: ${error.status} ${error.code}`);
}
