import { describe, expect, it } from 'vitest';
import { apiMethods, servedUrl, similarPath } from './api-paths.ts';

describe('servedUrl', () => {
  it.each([
    ['/v1//chat/completions', '/v1/chat/completions'],
    ['//v1/models', '/v1/models'],
    ['/v1/models/', '/v1/models'],
    ['/v1/models//', '/v1/models'],
    ['/v1/completions/?a=//b/', '/v1/completions?a=//b/'],
    ['/chat/completions', '/v1/chat/completions'],
    ['/completions/', '/v1/completions'],
    ['/models', '/v1/models'],
    ['/models/owner/name', '/v1/models/owner/name'],
    ['/v1/v1/chat/completions', '/v1/chat/completions'],
    ['/v1/v1/v1//models', '/v1/models'],
    ['/healthz/', '/healthz'],
    ['//metrics', '/metrics'],
  ])('serves %s as %s', (url, served) => expect(servedUrl(url)).toBe(served));

  it.each([
    '/',
    '//',
    '/console/',
    '/docs/',
    '/docs//static/x.js',
    '/assets//x.js',
    '/v1/models/owner/name',
    '/v1/none/',
    '/%76%31/models/',
    '/v1%2Fmodels',
    '/./v1/models',
    '/v1/../v1/models',
    '/V1/models',
    '/v1metrics',
    '*',
    'http://host/v1//models',
    '/socket.io/?EIO=4',
  ])('leaves %s as it is', (url) => expect(servedUrl(url)).toBe(url));
});

it('apiMethods knows paths with a part of their own only where there is one', () => {
  expect([apiMethods('/v1/models/'), apiMethods('/v1/models/x'), apiMethods('/shards/')]).toEqual([
    undefined,
    'GET',
    undefined,
  ]);
});

describe('similarPath', () => {
  it.each([
    ['/v1/chat/completion', '/v1/chat/completions'],
    ['/v1/chat/compeltions', '/v1/chat/completions'],
    ['/v1/chat/complitions', '/v1/chat/completions'],
    ['/v1/modelss', '/v1/models'],
    ['/v1/Chat/Completions', '/v1/chat/completions'],
    ['/chat/completion', '/v1/chat/completions'],
    ['/api/v1/chat/completions/', '/v1/chat/completions'],
    ['/heathz', '/healthz'],
  ])('finds for %s %s', (path, similar) => expect(similarPath(path)).toBe(similar));

  it.each(['/', '/nothing', '/v1/images/generations', '/v1', '/assets/none.js', `/${'a'.repeat(1000)}/v1/models`])(
    'finds nothing for %s',
    (path) => expect(similarPath(path)).toBeUndefined(),
  );
});
