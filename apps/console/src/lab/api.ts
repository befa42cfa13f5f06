import type { LabFacts, LabRequest, LabStudy } from '@shoal/protocol';
import { authorization, noteStatus } from '../playground/api-key.ts';
import { readRefusal } from '../playground/chunk.ts';

const PATH = './v1/gates';
const FACTS_DEADLINE_MS = 10_000;
/** The coordinator gives up after a minute, and four others may wait before. */
const STUDY_DEADLINE_MS = 330_000;

/** What the coordinator said of a request, and the parameter that it named. */
export class Refused extends Error {
  readonly param: string | null;
  constructor(message: string, param: string | null = null) {
    super(message);
    this.param = param;
  }
}

/** Rejects with a Refused, whose message is for the user. */
export const fetchFacts = (): Promise<LabFacts> =>
  ask<LabFacts>({ headers: authorization(), signal: AbortSignal.timeout(FACTS_DEADLINE_MS) });

/** Rejects with a Refused, or with the signal's reason. */
export function fetchStudy(request: Partial<LabRequest> & { text: string }, signal: AbortSignal): Promise<LabStudy> {
  return ask<LabStudy>({
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...authorization() },
    body: JSON.stringify(request),
    signal: AbortSignal.any([signal, AbortSignal.timeout(STUDY_DEADLINE_MS)]),
  });
}

async function ask<Answer>(options: RequestInit): Promise<Answer> {
  let response: Response;
  try {
    response = await fetch(PATH, options);
  } catch (error) {
    if (error instanceof TypeError) throw new Refused('The coordinator cannot be reached.');
    if ((error as Error).name === 'TimeoutError') throw new Refused('The coordinator did not answer in time.');
    throw error;
  }
  noteStatus(response.status);
  if (response.ok) return (await response.json()) as Answer;
  const { message, param } = readRefusal(response.status, await response.text(), response.headers.get('retry-after'));
  throw new Refused(message, param);
}
