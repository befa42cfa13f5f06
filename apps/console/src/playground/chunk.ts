import type { TokenLap, TokenTrace } from '@shoal/protocol';

/** The parts of a streamed completion's chunk that this page uses. */
export interface Chunk {
  text: string;
  finishReason: string | null;
  usage: { promptTokens: number; completionTokens: number } | null;
  tokens: TokenTrace[];
  error: string | null;
}

type Fields = Record<string, unknown>;

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
const fields = (value: unknown): Fields => (isFields(value) ? value : {});
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const number = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0);

/** Parses an event's data. By hand, since zod would double the page's size. Returns an error text for invalid JSON. */
export function parseChunk(data: string): Chunk {
  let json: Fields;
  try {
    json = fields(JSON.parse(data));
  } catch {
    return { ...empty, error: `The server sent invalid JSON: ${data.slice(0, 80)}` };
  }
  if (json['error'] !== undefined) return { ...empty, error: describeError(json) };
  const choice = fields(list(json['choices'])[0]);
  const usage = json['usage'];
  const trace = choice['shoal'] ?? json['shoal'];
  return {
    text: text(choice['text']),
    finishReason: typeof choice['finish_reason'] === 'string' ? choice['finish_reason'] : null,
    usage: isFields(usage)
      ? { promptTokens: number(usage['prompt_tokens']), completionTokens: number(usage['completion_tokens']) }
      : null,
    tokens: list(fields(trace)['tokens']).map(parseToken),
    error: null,
  };
}

const empty: Chunk = { text: '', finishReason: null, usage: null, tokens: [], error: null };

function parseToken(value: unknown): TokenTrace {
  const token = fields(value);
  return { id: number(token['id']), text: text(token['text']), laps: list(token['laps']).map(parseLap) };
}

function parseLap(value: unknown): TokenLap {
  const lap = fields(value);
  const experts = list(lap['experts']).map((entry) => {
    const expert = fields(entry);
    const peerId = expert['peerId'];
    return {
      expert: number(expert['expert']),
      weight: number(expert['weight']),
      peerId: typeof peerId === 'string' ? peerId : null,
    };
  });
  return { layer: number(lap['layer']), lapMs: number(lap['lapMs']), experts };
}

/** Text of OpenAI's error object: `{ error: { message, type, param, code } }`. */
function describeError(body: unknown): string {
  const error = fields(body)['error'];
  if (typeof error === 'string') return error;
  const { message, param, type } = fields(error);
  const words = text(message) || text(type) || 'The server reported an error without a message.';
  return text(param) ? `${words} (parameter: ${text(param)})` : words;
}

/** Text for a refused request: OpenAI's message if there is one, the status, and when to retry. */
export function describeRefusal(status: number, body: string, retryAfter: string | null): string {
  let words: string;
  try {
    words = describeError(JSON.parse(body));
  } catch {
    words = body.trim().slice(0, 300) || 'no explanation given';
  }
  const again = retryAfter === null ? '' : ` Try again in ${retryAfter} s.`;
  return `${words} (HTTP ${status})${again}`;
}
