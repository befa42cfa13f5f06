import { historyQuerySchema } from '@shoal/protocol';
import { z } from 'zod';
import { failure, ok } from './openapi-parts.ts';

interface Shared {
  viewer: object;
  operator: object;
  refusals: object;
}

const { properties } = z.toJSONSchema(historyQuerySchema, { io: 'input' }) as { properties: Record<string, object> };

/** History and alerts. */
export function watchPaths({ viewer, operator, refusals }: Shared) {
  const tags = ['Operation'];
  return {
    '/admin/history': {
      get: {
        summary: 'Figures of the last hour, day, week or month, of all coordinators or of one',
        tags,
        ...viewer,
        parameters: Object.entries(properties).map(([name, schema]) => ({ name, in: 'query', schema })),
        responses: {
          '200': ok('A point for each step, null where nothing was measured, and totals.'),
          ...refusals,
          '400': failure('A part of the query is not valid.'),
          '503': failure('`database_away`, or `busy`.'),
        },
      },
    },
    '/admin/alerts': {
      get: {
        summary: 'What the webhook was told, and what came of it',
        tags,
        ...viewer,
        responses: { '200': ok('Its host, open alerts, and counts since the start.'), ...refusals },
      },
    },
    '/admin/alerts/test': {
      post: {
        summary: 'Send a test message to the webhook',
        tags,
        ...operator,
        responses: {
          '200': ok('It was delivered.'),
          ...refusals,
          '409': failure('`no_webhook`, or another test is under way.'),
          '502': failure('`not_delivered`: the message says why.'),
        },
      },
    },
  };
}
