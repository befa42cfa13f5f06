import {
  ACCESS_KINDS,
  entryChangeSchemas,
  newBanSchema,
  newEntrySchemas,
  rulesChangeSchema,
  usageQuerySchema,
} from '@shoal/protocol';
import { z } from 'zod';
import { settingChangesSchema } from '../settings/index.ts';
import { USAGE_URL } from './admin.ts';
import { watchPaths } from './openapi-watch.ts';
import { failure, get, json, jsonSchema, ok, pathParameter, ref, unauthorized } from './openapi-parts.ts';

const NAMES = { keys: 'API key', invites: 'invitation', admins: 'admin' } as const;
const SCHEMAS = { keys: 'Key', invites: 'Invite', admins: 'Admin' } as const;

const OPERATOR = {
  description: 'Needs an operator’s token of the console as `Authorization: Bearer …`.',
  security: [{ admin: [] }],
};
const VIEWER = {
  description: 'Needs an admin’s token of the console as `Authorization: Bearer …`.',
  security: [{ admin: [] }],
};

const refusals = {
  '401': failure('No valid token of an admin was sent.'),
  '403': failure('The token is a viewer’s.'),
};
const changes = {
  ...refusals,
  '400': failure('The body is not valid; `param` names what.'),
  '409': failure('`read_only`: the rules are in an access file; `name_taken`; `too_many`.'),
  '503': failure('`database_away`: nothing was changed.'),
};

const withBody = (summary: string, schema: object, responses: object) => ({
  summary,
  tags: ['Operation'],
  ...OPERATOR,
  requestBody: { required: true, content: json(schema) },
  responses: { ...responses, ...changes },
});

const lifting = (summary: string) => ending(summary, 'All that are kept out.');
const takingAway = (summary: string) => ending(summary, 'It is done, and an event says so.');

const ending = (summary: string, answer: string) => ({
  summary,
  tags: ['Operation'],
  ...OPERATOR,
  responses: {
    ...refusals,
    '200': ok(answer),
    '404': failure('There is none of this name in force.'),
    '503': failure('`database_away`: nothing was changed.'),
  },
});

function entryPaths(kind: (typeof ACCESS_KINDS)[number]) {
  const [name, schema] = [NAMES[kind], SCHEMAS[kind]];
  const unknown = { '404': failure(`There is no ${name} of this name in force.`) };
  return {
    [`/admin/${kind}`]: {
      post: withBody(`Make an ${name}`, ref(`New${schema}`), {
        '201': ok('The entry and its token, which is shown this once.'),
      }),
    },
    [`/admin/${kind}/{name}`]: {
      ...pathParameter('name', { schema: { type: 'string' } }),
      patch: withBody(`Change an ${name}; null takes a limit away`, ref(`${schema}Change`), {
        '200': ok('The entry.'),
        ...unknown,
      }),
      delete: {
        summary: `Revoke an ${name}`,
        tags: ['Operation'],
        ...OPERATOR,
        responses: { '200': ok('The entry.'), ...unknown, ...changes },
      },
    },
  };
}

const { properties: usageFields } = z.toJSONSchema(usageQuerySchema, { io: 'input' }) as {
  properties: Record<string, object>;
};
const usageParameters = (names: readonly string[]) => ({
  parameters: names.map((name) => ({ name, in: 'query', schema: usageFields[name] })),
});
const usageAnswers = {
  '200': {
    description: 'Rows by key, day and model, or by some of these; as CSV with `Accept: text/csv` or `format=csv`.',
    content: { ...json({ type: 'object' }), 'text/csv': { schema: { type: 'string' } } },
  },
  '400': failure('A part of the query is not valid, or there would be too many rows.'),
  '503': failure('`database_away`.'),
};

export function adminPaths() {
  return {
    '/admin/access': {
      get: {
        summary: 'Who may do what: rules, keys, invitations and admins',
        tags: ['Operation'],
        ...VIEWER,
        responses: { '200': ok('All of it, without tokens.'), ...refusals },
      },
      patch: withBody(
        'Change the rules; null is what follows from the lists, or a limit’s default',
        ref('RulesChange'),
        { '200': ok('All of it.') },
      ),
    },
    '/admin/access/import': {
      post: withBody(
        'Copy an access file into the database',
        { type: 'object' },
        { '200': ok('The names of what was copied, and of what stays revoked.') },
      ),
    },
    ...Object.assign({}, ...ACCESS_KINDS.map(entryPaths)),
    '/admin/bans': {
      get: {
        summary: 'Who is kept out of the swarm, why and until when',
        tags: ['Operation'],
        ...VIEWER,
        responses: { '200': ok('Bans and drains, the newest first, and quarantines.'), ...refusals },
      },
      post: withBody('Keep a donor or a network out', ref('NewBan'), { '201': ok('All that are kept out.') }),
    },
    '/admin/bans/{id}': {
      ...pathParameter('id', { schema: { type: 'integer' } }),
      delete: lifting('Lift a ban or a drain'),
    },
    '/admin/quarantines/{key}': {
      ...pathParameter('key', { schema: { type: 'string' } }),
      delete: lifting('End a quarantine'),
    },
    '/admin/names/{name}': {
      ...pathParameter('name', { schema: { type: 'string' } }),
      delete: takingAway('Take a name from a donor; what it did stays counted'),
    },
    '/admin/teams/{id}': {
      ...pathParameter('id', { schema: { type: 'integer' } }),
      delete: takingAway('Dissolve a team; its members keep what they did'),
    },
    ...watchPaths({ viewer: VIEWER, operator: OPERATOR, refusals }),
    '/admin/settings': {
      get: {
        summary: 'What can be set while coordinators run: values, defaults, who changed what',
        tags: ['Operation'],
        ...VIEWER,
        responses: { '200': ok('All settings. A viewer is shown no secrets.'), ...refusals },
      },
      patch: {
        ...withBody('Change settings; null takes one back to its default', ref('SettingsChange'), {}),
        responses: {
          ...refusals,
          '200': ok('All settings. All coordinators of the database have them within a second.'),
          '400': failure('`invalid_value`: nothing was changed; `param` names the setting.'),
          '409': failure('`locked`: the setting has no meaning for this model.'),
          '503': failure('`database_away`: nothing was changed.'),
        },
      },
    },
    '/admin/usage': get(
      'Operation',
      'What keys have used',
      { ...usageAnswers, ...refusals },
      { ...VIEWER, ...usageParameters(Object.keys(usageFields)) },
    ),
    [USAGE_URL]: get(
      'Operation',
      'What the key has used that the request is made with',
      { ...usageAnswers, '401': unauthorized, '404': failure('`no_api_keys`: the coordinator requires none.') },
      usageParameters(Object.keys(usageFields).filter((name) => name !== 'key')),
    ),
  };
}

export function adminSchemas() {
  return Object.fromEntries([
    ...ACCESS_KINDS.flatMap((kind) => [
      [`New${SCHEMAS[kind]}`, jsonSchema(newEntrySchemas[kind], 'input')],
      [`${SCHEMAS[kind]}Change`, jsonSchema(entryChangeSchemas[kind], 'input')],
    ]),
    ['RulesChange', jsonSchema(rulesChangeSchema, 'input')],
    ['NewBan', jsonSchema(newBanSchema, 'input')],
    ['SettingsChange', jsonSchema(settingChangesSchema, 'input')],
  ]) as Record<string, object>;
}
