import { expect, inject } from 'vitest';
import { z } from 'zod';

/** Of the coordinator that all clients share, without /v1. */
export const url = inject('coordinatorUrl');
export const model = 'tiny-stories';
export const apiKey = 'any';
/** Where the model begins a story; it knows nothing else to say. */
export const story = 'Once upon a time there was a';

/** What a tool takes. The model writes what comes to its mind, so that only the grammar makes it fit. */
export const weatherArguments = z.object({
  location: z.string().max(12),
  unit: z.enum(['celsius', 'fahrenheit']),
});

/** What an answer is made of. Short, for the tests' sake. */
export const eventSchema = z.object({
  name: z.string().max(12),
  guests: z.array(z.enum(['Alice', 'Bob'])).max(2),
  place: z.object({ outside: z.boolean(), seats: z.number().int().min(0).max(99) }),
});

/** Of an answer to a prompt that begins a story. To others, such as a tool's result, the model may answer with a sign or nothing. */
export function expectStory(text: string | null | undefined): void {
  expect(text).toEqual(expect.stringMatching(/[a-z]{2,} [a-z]{2,}/));
}

/** What is thrown, where it must be of a class. */
export async function thrownBy<T extends Error>(
  kind: abstract new (...args: never[]) => T,
  act: () => PromiseLike<unknown>,
): Promise<T> {
  try {
    await act();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(kind);
    return thrown as T;
  }
  return expect.unreachable(`nothing was thrown instead of a ${kind.name}`);
}
