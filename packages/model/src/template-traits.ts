/** What a chat template can do. */
export interface TemplateTraits {
  /** It prints the tools that it is given. */
  tools: boolean;
  /** It prints an assistant's calls and their results. */
  calls: boolean;
  /** It prints a system message before the conversation. */
  system: boolean;
  /** It prints several system messages, at any place. */
  systemAnywhere: boolean;
  /** It prints two messages of the user in a row. */
  usersInARow: boolean;
  /** How it wants a call's arguments. */
  argumentsAs: 'object' | 'string';
  /** It takes arguments as an object, and as a string where they are not one. */
  takesBoth: boolean;
}

type Render = (values: Record<string, unknown>) => string;

const USER = { role: 'user', content: 'probe-question' };
const PARAMETERS = { type: 'object', properties: { probe_key: { type: 'string', description: 'probe' } } };
const TOOL = { type: 'function', function: { name: 'probe_tool', description: 'probe', parameters: PARAMETERS } };
const ARGUMENTS = { probe_key: 'probe "value"' };

/** Finds out what a template does by rendering small conversations; one that fails is one that it cannot do. */
export function probeTemplate(render: Render): TemplateTraits {
  const attempt = (messages: readonly unknown[], tools: readonly unknown[] | null = null): string => {
    try {
      return render({ messages, tools, documents: null, add_generation_prompt: true });
    } catch {
      return '';
    }
  };
  const call = (given: unknown): string => attempt(callConversation(given), [TOOL]);
  const asObject = call(ARGUMENTS);
  const asString = call(JSON.stringify(ARGUMENTS));
  const takesObjects = asObject.includes('probe_key: ') || hasArguments(asObject);
  // A string that is written as JSON once more has its quotes escaped.
  const takesStrings = asString.includes(JSON.stringify(ARGUMENTS));
  return {
    tools: attempt([USER], [TOOL]).includes('probe_tool'),
    calls: [asObject, asString].some((text) => text.includes('probe_called') && text.includes('probe-result')),
    system: attempt([{ role: 'system', content: 'probe-system' }, USER]).includes('probe-system'),
    systemAnywhere: printsAll(attempt, [system('first'), system('second'), USER, system('third')]),
    usersInARow: printsAll(attempt, [USER, { role: 'user', content: 'probe-more' }]),
    argumentsAs: takesStrings && !takesObjects ? 'string' : 'object',
    takesBoth: takesStrings && takesObjects,
  };
}

const system = (which: string) => ({ role: 'system', content: `probe-${which}` });

function printsAll(
  attempt: (messages: readonly unknown[]) => string,
  messages: readonly { content: string }[],
): boolean {
  const text = attempt(messages);
  return messages.every(({ content }) => text.includes(content));
}

/** Whether a rendered call holds its arguments; the tools' parameters are not meant, which hold the key alone. */
function hasArguments(text: string): boolean {
  return text.includes('probe "value"') || text.includes(String.raw`probe \"value\"`);
}

function callConversation(given: unknown): unknown[] {
  const id = 'call00001';
  const called = { id, type: 'function', function: { name: 'probe_called', arguments: given } };
  return [
    USER,
    { role: 'assistant', content: '', tool_calls: [called] },
    { role: 'tool', name: 'probe_called', tool_call_id: id, content: 'probe-result' },
  ];
}
