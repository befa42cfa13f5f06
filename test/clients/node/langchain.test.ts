import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AIMessage, HumanMessage, SystemMessage, ToolMessage, type AIMessageChunk } from '@langchain/core/messages';
import { ChatPromptTemplate } from '@langchain/core/prompts';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI, OpenAI } from '@langchain/openai';
import { describe, expect, it } from 'vitest';
import { TINY_STORIES } from '../../integration/golden.ts';
import { apiKey, eventSchema, expectStory, model, story, thrownBy, url, weatherArguments } from './shared.ts';

const configuration = { baseURL: `${url}/v1` };
const options = { model, apiKey, configuration, maxRetries: 0 };
const messages = [new SystemMessage('Talk like a pirate.'), new HumanMessage(story)];
const weather = tool(({ location }) => `Rain in ${location}`, {
  name: 'get_weather',
  description: 'The weather at a place',
  schema: weatherArguments,
});

const TOKENIZER = JSON.parse(readFileSync(join(TINY_STORIES, 'tokenizer.json'), 'utf8')) as {
  model: { vocab: Record<string, number> };
};

/** Its type is lost to the types of the provider's own blocks. */
function inputTokens({ usage_metadata: usage }: { usage_metadata?: unknown }): number {
  return (usage as { input_tokens: number }).input_tokens;
}

describe('@langchain/openai', () => {
  const chat = new ChatOpenAI({ ...options, maxTokens: 30 });

  it('invokes, alone, in a chain and in a batch', async () => {
    const answer = await chat.invoke(messages);
    expectStory(answer.text);
    expect(answer.usage_metadata).toMatchObject({ output_tokens: 30 });
    const prompt = ChatPromptTemplate.fromMessages([
      ['system', 'You translate to {language}.'],
      ['human', '{input}'],
    ]);
    expectStory((await prompt.pipe(chat).invoke({ language: 'German', input: story })).text);
    const batch = await chat.batch([story, story]);
    for (const { text } of batch) expectStory(text);
  });

  it('streams', async () => {
    const chunks: AIMessageChunk[] = [];
    for await (const chunk of await chat.stream(messages)) chunks.push(chunk);
    const whole = chunks.reduce((all, chunk) => all.concat(chunk));
    expectStory(whole.text);
    expect(chunks.length).toBeGreaterThan(3);
    expect(whole.usage_metadata).toMatchObject({ output_tokens: 30 });
  });

  it('speaks through /v1/responses', async () => {
    const responses = new ChatOpenAI({ ...options, maxTokens: 30, useResponsesApi: true });
    expectStory((await responses.invoke(messages)).text);
    let text = '';
    for await (const chunk of await responses.stream(messages)) text += chunk.text;
    expectStory(text);
  });

  it('completes a text', async () => {
    const completion = new OpenAI({ ...options, maxTokens: 30 });
    expectStory(await completion.invoke(story));
  });

  it('calls a tool, and answers with its result', async () => {
    const bound = new ChatOpenAI(options).bindTools([weather], { tool_choice: 'any', parallel_tool_calls: false });
    const asking = await bound.invoke('How is the weather in Oslo?');
    expect(asking.tool_calls).toHaveLength(1);
    const call = asking.tool_calls![0]!;
    weatherArguments.parse(call.args);
    const result = (await weather.invoke({ ...call, type: 'tool_call' })) as ToolMessage;
    expect(result.content).toMatch(/^Rain in /);
    const answer = await chat.bindTools([weather]).invoke([new HumanMessage('How is it?'), asking, result]);
    expect(answer).toBeInstanceOf(AIMessage);
    expect(answer.tool_calls).toEqual([]);
    expect(inputTokens(answer)).toBeGreaterThan(inputTokens(asking));
  });

  it('streams a call', async () => {
    const bound = new ChatOpenAI(options).bindTools([weather], { tool_choice: 'get_weather' });
    let whole = undefined as AIMessageChunk | undefined;
    for await (const chunk of await bound.stream('How is the weather in Oslo?')) whole = whole?.concat(chunk) ?? chunk;
    expect(whole?.tool_calls).toHaveLength(1);
    weatherArguments.parse(whole!.tool_calls![0]!.args);
  });

  it.each(['functionCalling', 'jsonSchema'] as const)('structures an answer by %s', async (method) => {
    const structured = new ChatOpenAI(options).withStructuredOutput(eventSchema, { name: 'event', method });
    const event = await structured.invoke('Alice and Bob go to a fair.');
    expect(eventSchema.parse(event)).toEqual(event);
  });

  it('structures an answer by jsonMode', async () => {
    // The model, which is told of no schema here, would write on and on; without the grammar it would write nothing but these.
    const logitBias = { [TOKENIZER.model.vocab['}']!]: 100 };
    const schema = { type: 'object', properties: {} };
    const structured = new ChatOpenAI({ ...options, logitBias }).withStructuredOutput(schema, { method: 'jsonMode' });
    expect(await structured.invoke('Alice goes to a fair. Answer in JSON.')).toEqual({});
  });

  it('throws an error that says what is wrong, and ends where it is aborted', async () => {
    const refused = await thrownBy(Error, () => new ChatOpenAI({ ...options, model: 'gpt-0' }).invoke(story));
    expect(refused).toMatchObject({ status: 404 });
    expect(refused.message).toContain(model);
    const abort = new AbortController();
    await thrownBy(Error, async () => {
      for await (const _ of await new ChatOpenAI(options).stream(story, { signal: abort.signal })) abort.abort();
    });
  });
});
