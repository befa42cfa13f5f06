import { type LabRequest, labRequestSchema } from '@shoal/protocol';
import type { FastifyInstance } from 'fastify';
import type { LabService } from '../lab/lab.ts';
import { LabError } from '../lab/lab-error.ts';
import { tokenName } from './codec.ts';
import type { PlainEndpoint } from './endpoint.ts';
import { ApiError } from './errors.ts';
import { encode } from './requests/parse-common.ts';

/** How soon a busy lab is worth asking again: most texts take less than a second. */
const RETRY_S = 2;

/** What the lab can do: the gates with their settings. */
export function registerLabFacts(app: FastifyInstance, lab: LabService): void {
  app.get('/v1/gates', () => lab.facts());
}

/** Runs the model over a text and tells what its gate, or another in its place, has chosen. */
export const labStudy = (lab: LabService): PlainEndpoint<LabRequest> => ({
  url: '/v1/gates',
  schema: labRequestSchema,
  read: (body) => ({
    answer: async (deps, client) => {
      const isWhole = deps.embeddings !== undefined;
      const { list: ids } = await encode(
        { text: body.text, addsSpecialTokens: true, isWhole },
        'text',
        {},
        deps,
        client,
      );
      try {
        const textOf = (id: number): string => tokenName(deps.codec, id);
        return await lab.study(body, ids, { client: client.client ?? '', textOf, signal: client.signal ?? NEVER });
      } catch (error) {
        throw error instanceof LabError ? apiErrorOf(error) : error;
      }
    },
  }),
});

const NEVER = new AbortController().signal;

function apiErrorOf({ reason, message, param }: LabError): ApiError {
  switch (reason) {
    case 'invalid':
      return ApiError.invalid(param ?? null, message);
    case 'busy':
      return new ApiError(429, message, { code: 'lab_busy', headers: { 'retry-after': String(RETRY_S) } });
    case 'timeout':
      return new ApiError(504, message, { code: 'timeout' });
    default:
      return reason satisfies never;
  }
}
