import { beforeEach, describe, expect, it } from 'vitest';
import { accessFaults } from './access-faults.ts';
import { browser, eventually, expectAccessible, fake, openPage, page, useFakeCoordinator } from './console-browser.ts';

useFakeCoordinator(['clipboard-read', 'clipboard-write']);
beforeEach(async () => {
  await page.goto(`${fake.url}/playground#chat`);
  await page.getByText('This model: context 2,048 tokens').waitFor();
});

const say = async (text: string): Promise<void> => {
  await page.getByLabel('Your message').fill(text);
  await page.getByRole('button', { name: 'Send', exact: true }).click();
};
const state = (): Promise<string | null> => page.locator('.outcome .state').textContent();
const turns = (): Promise<string[]> => page.locator('.turn .text').allTextContents();
const messages = (at: number): unknown => fake.asked[at]?.['messages'];

describe('a conversation', () => {
  it('streams an answer, goes on with it, and sends only what was changed', async () => {
    let goOn = (): void => {};
    fake.chats = [
      { content: ['Hello', ' there', '!'], held: new Promise((resolve) => (goOn = resolve)) },
      { content: ['Fine'] },
    ];
    await page.getByLabel('System prompt').fill('Be kind.');
    await page.getByLabel('Max tokens').fill('');
    await say('Hi');
    await eventually(turns).toEqual(['Hi', 'Hello']);
    expect(await state()).toContain('writing');
    goOn();
    await eventually(state).toContain('finished: the text is complete');
    expect(await turns()).toEqual(['Hi', 'Hello there!']);
    expect(fake.asked[0]).toEqual({
      model: 'tiny-stories',
      messages: [
        { role: 'system', content: 'Be kind.' },
        { role: 'user', content: 'Hi' },
      ],
      stream: true,
      stream_options: { include_usage: true },
      shoal: { trace: true },
    });
    expect(await page.getByRole('slider').getAttribute('aria-valuetext')).toContain('3 of 3, “!”: 5 laps');
    expect(await page.locator('.outcome .tile dd').allTextContents()).toEqual(expect.arrayContaining(['3', '12']));
    await page.getByLabel('Your message').fill('How are you?');
    await page.getByLabel('Your message').press('Control+Enter');
    await eventually(turns).toEqual(['Hi', 'Hello there!', 'How are you?', 'Fine']);
    expect(messages(1)).toEqual([
      { role: 'system', content: 'Be kind.' },
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Hello there!' },
      { role: 'user', content: 'How are you?' },
    ]);
  });

  it('can be edited, shortened, begun anew, and brought back', async () => {
    fake.chats = [{ content: ['One'] }, { content: ['Two'] }];
    await say('First');
    await eventually(state).toContain('finished');
    await page.getByRole('button', { name: 'Edit Assistant, turn 2' }).click();
    await page.getByLabel('Text of Assistant, turn 2').fill('Uno');
    await page.getByRole('button', { name: 'Done Assistant, turn 2' }).click();
    await page.getByRole('button', { name: 'Remove User, turn 1' }).click();
    expect(await turns()).toEqual(['Uno']);
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('field-message');
    await page.getByRole('button', { name: 'Edit Assistant, turn 1' }).click();
    await page.getByLabel('Text of Assistant, turn 1').fill('Un');
    await page.getByRole('button', { name: 'Done Assistant, turn 1' }).click();
    await page.getByRole('button', { name: 'Bring back' }).click();
    expect(await turns(), 'what was edited since stays').toEqual(['First', 'Un']);
    await page.getByRole('button', { name: 'Answer again' }).click();
    await eventually(turns).toEqual(['First', 'Two']);
    expect(messages(1)).toEqual([{ role: 'user', content: 'First' }]);
    await page.getByRole('button', { name: 'New chat' }).click();
    expect(await page.locator('.turn').count()).toBe(0);
    await page.getByRole('button', { name: 'Bring back' }).click();
    expect(await turns()).toEqual(['First', 'Two']);
  });

  it('stops at a press, keeps what came, and the server notices', async () => {
    fake.chats = [{ content: ['Once', ' more'], held: new Promise(() => {}) }];
    await say('Hi');
    await eventually(turns).toEqual(['Hi', 'Once']);
    await page.getByRole('button', { name: 'Stop' }).click();
    await eventually(state).toContain('stopped');
    await eventually(() => fake.hungUp).toBe(1);
    expect(await turns()).toEqual(['Hi', 'Once']);
  });

  it('loses nothing by errors, a change of mode or a reload', async () => {
    fake.chats = [
      { status: 429, message: 'The queue is full.', param: null },
      { content: ['Half'], error: 'Too late.' },
    ];
    await page.getByLabel('System prompt').fill('Be brief.');
    await say('Hi');
    await eventually(() => page.getByRole('alert').textContent()).toBe('The queue is full. (HTTP 429)');
    expect(await turns()).toEqual(['Hi']);
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await eventually(() => page.getByRole('alert').textContent()).toBe('Too late.');
    expect(await turns()).toEqual(['Hi', 'Half']);
    await page.getByLabel('Your message').fill('A draft');
    await page.getByLabel('Tools', { exact: true }).fill('[{"type": ');
    await page.getByRole('radio', { name: 'Text' }).check();
    await page.getByLabel('Prompt').fill('Another draft');
    await page.getByRole('radio', { name: 'Chat' }).check();
    await page.reload();
    for (const [label, text] of [
      ['System prompt', 'Be brief.'],
      ['Your message', 'A draft'],
      ['Tools', '[{"type": '],
    ] as const) {
      expect(await page.getByLabel(label, { exact: true }).inputValue(), label).toBe(text);
    }
    expect(await turns()).toEqual(['Hi', 'Half']);
    await page.getByRole('radio', { name: 'Text' }).check();
    expect(await page.getByLabel('Prompt').inputValue()).toBe('Another draft');
    expect(await page.evaluate(() => localStorage.length)).toBe(0);
  });
});

describe('tools', () => {
  const weather = { name: 'get_weather', arguments: ['{"city": "Zürich', ' “north”"', ', "unit": "celsius"}'] };

  it('are called, answered by a person, and the conversation goes on', async () => {
    fake.chats = [
      { content: ['Let me see.'], calls: [weather, { name: 'get_time', arguments: ['{}'] }] },
      { content: ['It is sunny.'] },
    ];
    await page.getByRole('button', { name: 'Example of Tools' }).click();
    await page.getByText('1 tool: get_weather.').waitFor();
    await page.getByLabel('Tool choice').selectOption('get_weather');
    await say('Weather?');
    await eventually(state).toContain('finished: the model calls tools');
    expect(fake.asked[0]).toMatchObject({
      tools: [{ type: 'function', function: { name: 'get_weather' } }],
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
    });
    const cards = page.getByRole('list', { name: 'Tool calls' }).getByRole('listitem');
    expect(await cards.locator('h4').allTextContents()).toEqual(['Calls get_weather', 'Calls get_time']);
    expect(await page.getByLabel('Arguments of get_weather').textContent()).toBe(
      '{\n  "city": "Zürich “north”",\n  "unit": "celsius"\n}',
    );
    await page.getByLabel('Result of get_weather').fill('{"sky": "clear"}');
    await page.getByRole('button', { name: 'Send the 2 results' }).click();
    await eventually(() => page.evaluate(() => document.activeElement?.getAttribute('aria-invalid'))).toBe('true');
    expect(fake.asked.length).toBe(1);
    await page.getByLabel('Result of get_time').fill('noon');
    await page.getByRole('button', { name: 'Send the 2 results' }).click();
    await eventually(turns).toEqual(['Weather?', 'Let me see.', 'It is sunny.']);
    const call = (id: string, name: string, given: string) => ({
      id,
      type: 'function',
      function: { name, arguments: given },
    });
    expect(messages(1)).toEqual([
      { role: 'user', content: 'Weather?' },
      {
        role: 'assistant',
        content: 'Let me see.',
        tool_calls: [call('call_0', 'get_weather', weather.arguments.join('')), call('call_1', 'get_time', '{}')],
      },
      { role: 'tool', tool_call_id: 'call_0', content: '{"sky": "clear"}' },
      { role: 'tool', tool_call_id: 'call_1', content: 'noon' },
    ]);
  });

  it('are checked while one types', async () => {
    const box = page.getByLabel('Tools', { exact: true });
    for (const [text, words] of [
      ['[{', 'This is not JSON'],
      ['{}', 'Enter an array'],
      ['[{"type": "function", "function": {}}]', 'Tool 1 has no "name"'],
    ] as const) {
      await box.fill(text);
      await eventually(() => page.locator('#error-tools').textContent()).toContain(words);
      expect(await box.getAttribute('aria-invalid')).toBe('true');
    }
    await say('Hi');
    await eventually(() => page.evaluate(() => document.activeElement?.id)).toBe('field-tools');
    expect(fake.asked).toEqual([]);
    expect(await page.getByLabel('Your message').inputValue()).toBe('Hi');
  });

  it('shows arguments that are no JSON as they are', async () => {
    fake.chats = [{ calls: [{ name: 'get_time', arguments: ['{"zone": '] }] }];
    await say('Time?');
    await eventually(state).toContain('finished');
    expect(await page.getByLabel('Arguments of get_time').textContent()).toBe('{"zone": ');
    expect(await page.locator('.call .note').textContent()).toContain('not valid JSON');
  });
});

it('folds reasoning, counts it while it comes, and sends it back', async () => {
  let goOn = (): void => {};
  fake.chats = [
    { reasoning: ['They', ' greet', '.'], content: ['Hello'], held: new Promise((resolve) => (goOn = resolve)) },
    { content: ['Bye'] },
  ];
  await page.getByLabel('Reasoning effort').selectOption('low');
  await page.getByLabel('Thinking').selectOption('off');
  await say('Hi');
  const summary = page.locator('.reasoning summary');
  await eventually(() => summary.textContent()).toBe('Reasoning · 1 token');
  await summary.click();
  expect(await page.locator('.reasoning .text').textContent()).toBe('They');
  goOn();
  await eventually(state).toContain('finished');
  expect(await summary.textContent()).toBe('Reasoning · 3 tokens');
  expect(await page.locator('.reasoning .text').isVisible(), 'stays unfolded').toBe(true);
  expect(fake.asked[0]).toMatchObject({ reasoning_effort: 'low', chat_template_kwargs: { enable_thinking: false } });
  await say('Bye');
  await eventually(() => fake.asked.length).toBe(2);
  expect((messages(1) as unknown[])[1]).toEqual({
    role: 'assistant',
    content: 'Hello',
    reasoning_content: 'They greet.',
  });
});

it('asks for JSON, shows it in lines, and says whether it is valid', async () => {
  fake.chats = [{ content: ['{"name":"Ann",', '"age":7}'] }, { content: ['{"name":"An'], finish: 'length' }];
  await page.getByLabel('JSON Schema of the answer').fill('{"type": "array"');
  await eventually(() => page.locator('#error-schema').textContent()).toContain('This is not JSON');
  await page.getByLabel('JSON Schema of the answer').fill('');
  await page.getByRole('button', { name: 'Example of JSON Schema' }).click();
  await say('Who?');
  await page.getByText('Valid JSON.', { exact: true }).waitFor();
  expect(await page.getByLabel('The answer as JSON').textContent()).toBe('{\n  "name": "Ann",\n  "age": 7\n}');
  expect(fake.asked[0]).toMatchObject({
    response_format: { type: 'json_schema', json_schema: { strict: true, schema: { required: ['name', 'age'] } } },
  });
  await say('And?');
  await page.getByText('Not valid JSON').waitFor();
  expect(await turns()).toContain('{"name":"An');
});

it('shows an error at the field or turn that it names, and a warning with the answer', async () => {
  await page.getByLabel('System prompt').fill('Be kind.');
  await page.getByLabel('Your message').fill('Hi');
  for (const [param, id] of [
    ['temperature', 'field-temperature'],
    ['logit_bias', 'field-logit_bias'],
    ['max_completion_tokens', 'field-max_tokens'],
    ['tools[0].function.parameters', 'field-tools'],
    ['response_format.json_schema.schema', 'field-schema'],
    ['messages[0].content', 'field-system'],
    ['messages[1].content', 'turn-1'],
  ] as const) {
    fake.chats = [{ status: 400, message: `Invalid '${param}': it is odd.`, param }];
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await eventually(() => page.evaluate(() => document.activeElement?.id)).toBe(id);
    const described = await page.locator(`#${id}`).getAttribute('aria-describedby');
    expect(await page.locator(`#${described}`).textContent()).toContain(`Invalid '${param}': it is odd.`);
    expect(await page.getByRole('alert').textContent()).toMatch(/^The coordinator refused the request. See “.+”\.$/);
    expect(await accessFaults(page), param).toEqual([]);
  }
  fake.chats = [{ status: 400, message: 'Too long.', param: 'messages' }, { content: ['Hello'] }];
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  await eventually(() => page.getByRole('alert').textContent()).toBe('Too long. (HTTP 400) (parameter: messages)');
  fake.ignored = 'foo, bar';
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  await eventually(() => page.locator('.warning').textContent()).toContain('foo, bar');
  expect(await turns()).toEqual(['Hi', 'Hello']);
  expect(await page.locator('.complaint').count()).toBe(0);
});

it('sends every parameter, and shows how likely each token was', async () => {
  fake.chats = [{ content: ['Hi', ' you'] }];
  await page.getByText('More parameters').click();
  for (const [label, text] of [
    ['Top k', '40'],
    ['Min p', '0.05'],
    ['Presence penalty', '0.5'],
    ['Frequency penalty', '0'],
    ['Repetition penalty', '1.1'],
    ['Min tokens', '2'],
    ['Alternatives shown', '2'],
    ['Logit bias by token id, as JSON', '{"5": -100}'],
  ] as const) {
    await page.getByLabel(label, { exact: true }).fill(text);
  }
  await page.getByLabel('At the model’s end').selectOption('true');
  await say('Hi');
  await eventually(state).toContain('finished');
  expect(fake.asked[0]).toMatchObject({
    top_k: 40,
    min_p: 0.05,
    presence_penalty: 0.5,
    repetition_penalty: 1.1,
    min_tokens: 2,
    logprobs: true,
    top_logprobs: 2,
    logit_bias: { 5: -100 },
    ignore_eos: true,
  });
  expect(fake.asked[0]).not.toHaveProperty('frequency_penalty');
  expect(await page.locator('.odds').textContent()).toContain('Probability 50.0 %');
  expect(await page.locator('.odds').textContent()).toContain('perhaps 25.0 %');
});

it('copies the request that was typed, or the last one', async () => {
  const copied = async (language: string): Promise<string> => {
    await page.getByRole('button', { name: `Copy as ${language}` }).click();
    await page.getByText(`Copied as ${language}.`).waitFor();
    return page.evaluate(() => navigator.clipboard.readText());
  };
  await page.getByLabel('Your message').fill('It’s "$HOME" </script>\n');
  const json = /-d '(.*)'\n$/s.exec(await copied('curl'))?.[1] ?? '';
  expect(JSON.parse(json)).toMatchObject({ messages: [{ role: 'user', content: 'It’s "$HOME" </script>\n' }] });
  expect(await copied('Python')).toContain('client.chat.completions.create(');
  expect(await page.locator('pre').last().textContent()).toContain('</script>');
  fake.chats = [{ content: ['Yes'] }];
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  await eventually(state).toContain('finished');
  expect(await copied('TypeScript')).toContain('It’s \\"$HOME\\" </script>\\n');
  expect(await copied('TypeScript')).not.toContain('Yes');
});

it('says what a model without a template for tools can do', async () => {
  fake.facts = { convention: 'generic', tools: 'described', reasoning: false };
  await page.reload();
  await page.getByText('tools described in a message · no reasoning').waitFor();
  await page.getByText('More parameters').click();
  expect(await page.locator('.more').getByLabel('Thinking').isVisible()).toBe(true);
});

it('is accessible and fits at every width, light and dark', async () => {
  fake.chats = [
    {
      reasoning: ['They want', ' the weather.'],
      content: ['I will look.'],
      calls: [{ name: 'get_weather', arguments: [`{"city": "${'Llanfairpwll'.repeat(9)}"}`] }],
    },
  ];
  await page.getByRole('button', { name: 'Example of Tools' }).click();
  await page.getByRole('button', { name: 'Example of JSON Schema' }).click();
  await page.getByText('More parameters').click();
  await say('Weather?');
  await eventually(state).toContain('finished');
  await page.locator('.reasoning summary').click();
  await page.getByRole('button', { name: 'Edit User, turn 1' }).click();
  await page.getByRole('button', { name: 'Send the result' }).click();
  await page.getByRole('button', { name: 'Copy as Python' }).click();
  await expectAccessible(page, 'a chat');
});

it('works with a finger on a telephone', async () => {
  fake.chats = [{ content: ['Hello'] }];
  const phone = await openPage(browser, fake.url, { viewport: { width: 360, height: 740 }, hasTouch: true });
  await phone.page.goto(`${fake.url}/playground`);
  await phone.page.getByText('Chat', { exact: true }).tap();
  await phone.page.getByLabel('Your message').fill('Hi');
  await phone.page.getByRole('button', { name: 'Send', exact: true }).tap();
  await eventually(() => phone.page.locator('.outcome .state').textContent()).toContain('finished');
  expect(phone.faults).toEqual([]);
  await phone.page.context().close();
});
