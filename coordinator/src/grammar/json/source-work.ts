import { WorkBudget } from '../grammar-error.ts';

/** Steps of about a microsecond, each of a keyword or a few characters, over all schemas of a source. */
const MAX_WORK = 300_000;

let shared: WorkBudget | undefined;

const newWork = (): WorkBudget => new WorkBudget(MAX_WORK, 'steps to read its combinations of schemas');

/** The budget of the source that is being read, or one of its own for a schema that is read by itself. */
export const workOfSource = (): WorkBudget => shared ?? newWork();

/** Counts all schemas that are read meanwhile as one: those of hundreds of tools may each be harmless. */
export function asOneSource<T>(read: () => T): T {
  shared = newWork();
  try {
    return read();
  } finally {
    shared = undefined;
  }
}
