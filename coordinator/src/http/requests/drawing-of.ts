import type { ChatRequest } from './chat-schema.ts';
import { drawing } from './sampling-schema.ts';

type Drawing = Pick<ChatRequest, keyof typeof drawing>;

/** The parameters of drawing tokens, which other endpoints take by the same names; `stop` has another one there. */
export function drawingOf(body: Omit<Drawing, 'stop'>): Partial<Drawing> {
  const names = (Object.keys(drawing) as (keyof Drawing)[]).filter((name) => name !== 'stop');
  return Object.fromEntries(names.map((name) => [name, (body as Drawing)[name]])) as Partial<Drawing>;
}
