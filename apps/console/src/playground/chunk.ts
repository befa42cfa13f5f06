import type { TokenLap, TokenTrace } from '@shoal/protocol';

/** Log-probability of a token and of its most likely alternatives, where the request asked for them. */
export interface Odds {
  logprob: number;
  top: { token: string; logprob: number }[];
}

export type AnswerToken = TokenTrace & { odds?: Odds };

/** Piece of a tool call: the first has its id and name, all have some of the arguments. */
export interface CallPart {
  index: number;
  id: string;
  name: string;
  arguments: string;
}

export interface Usage {
  promptTokens: number;
  completionTokens: number;
  reasoningTokens: number | null;
}

/** What went wrong by the server's account, and the parameter that it names. */
export interface Fault {
  message: string;
  param: string | null;
}

/** The parts of a streamed chunk, of a completion or a chat, that this page uses. */
export interface Chunk {
  text: string;
  reasoning: string;
  calls: CallPart[];
  finishReason: string | null;
  usage: Usage | null;
  tokens: AnswerToken[];
  fault: Fault | null;
}

type Fields = Record<string, unknown>;

export const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
export const fields = (value: unknown): Fields => (isFields(value) ? value : {});
export const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
export const text = (value: unknown): string => (typeof value === 'string' ? value : '');
export const number = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0);

const empty: Chunk = { text: '', reasoning: '', calls: [], finishReason: null, usage: null, tokens: [], fault: null };

/** Parses an event's data. By hand, since zod would double the page's size. Returns a fault for invalid JSON. */
export function parseChunk(data: string): Chunk {
  let json: Fields;
  try {
    json = fields(JSON.parse(data));
  } catch {
    return { ...empty, fault: { message: `The server sent invalid JSON: ${data.slice(0, 80)}`, param: null } };
  }
  if (json['error'] !== undefined) return { ...empty, fault: readError(json) };
  const choice = fields(list(json['choices'])[0]);
  const delta = fields(choice['delta']);
  const odds = parseOdds(choice['logprobs']);
  return {
    text: text(choice['text']) || text(delta['content']),
    reasoning: text(delta['reasoning_content']),
    calls: list(delta['tool_calls']).map(parseCall),
    finishReason: typeof choice['finish_reason'] === 'string' ? choice['finish_reason'] : null,
    usage: parseUsage(json['usage']),
    tokens: list(fields(choice['shoal'] ?? json['shoal'])['tokens']).map((token, i) => parseToken(token, odds[i])),
    fault: null,
  };
}

function parseUsage(value: unknown): Usage | null {
  if (!isFields(value)) return null;
  const reasoning = fields(value['completion_tokens_details'])['reasoning_tokens'];
  return {
    promptTokens: number(value['prompt_tokens']),
    completionTokens: number(value['completion_tokens']),
    reasoningTokens: typeof reasoning === 'number' ? reasoning : null,
  };
}

function parseCall(value: unknown): CallPart {
  const call = fields(value);
  const { name, arguments: given } = fields(call['function']);
  return { index: number(call['index']), id: text(call['id']), name: text(name), arguments: text(given) };
}

/** Of each token in the chunk, in the shape of either endpoint. */
function parseOdds(value: unknown): Odds[] {
  const { content, token_logprobs: logprobs, top_logprobs: tops } = fields(value);
  if (Array.isArray(logprobs)) {
    return logprobs.map((logprob, i) => ({
      logprob: number(logprob),
      top: Object.entries(fields(list(tops)[i])).map(([token, other]) => ({ token, logprob: number(other) })),
    }));
  }
  return list(content).map((entry) => {
    const { logprob, top_logprobs: top } = fields(entry);
    const others = list(top).map((other) => {
      const one = fields(other);
      return { token: text(one['token']), logprob: number(one['logprob']) };
    });
    return { logprob: number(logprob), top: others };
  });
}

function parseToken(value: unknown, odds: Odds | undefined): AnswerToken {
  const token = fields(value);
  const laps = list(token['laps']).map(parseLap);
  return { id: number(token['id']), text: text(token['text']), laps, ...(odds && { odds }) };
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
  const resident = lap['resident'] === true && { resident: true };
  return { layer: number(lap['layer']), lapMs: number(lap['lapMs']), ...resident, experts };
}

/** Reads OpenAI's error object: `{ error: { message, type, param, code } }`. */
function readError(body: unknown): Fault {
  const error = fields(body)['error'];
  if (typeof error === 'string') return { message: error, param: null };
  const { message, param, type } = fields(error);
  const words = text(message) || text(type) || 'The server reported an error without a message.';
  return { message: words, param: text(param) || null };
}

/** Why a request was refused: OpenAI's message if there is one, the status, and when to retry. */
export function readRefusal(status: number, body: string, retryAfter: string | null): Fault {
  let fault: Fault;
  try {
    fault = readError(JSON.parse(body));
  } catch {
    fault = { message: body.trim().slice(0, 300) || 'no explanation given', param: null };
  }
  const again = retryAfter === null ? '' : ` Try again in ${retryAfter} s.`;
  return { ...fault, message: `${fault.message} (HTTP ${status})${again}` };
}

/** A fault in words, for a place that does not show its parameter. */
export function inWords({ message, param }: Fault): string {
  return param === null || message.includes(param) ? message : `${message} (parameter: ${param})`;
}
