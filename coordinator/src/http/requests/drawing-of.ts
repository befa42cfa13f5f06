import type { ChatRequest } from './chat-schema.ts';
import { drawing } from './sampling-schema.ts';

type Drawing = Pick<ChatRequest, keyof typeof drawing>;

/** The parameters of drawing tokens, which other endpoints take by the same names. */
export function drawingOf(body: Partial<Drawing>): Partial<Drawing> {
  const names = Object.keys(drawing) as (keyof Drawing)[];
  return Object.fromEntries(names.map((name) => [name, body[name]])) as Partial<Drawing>;
}
