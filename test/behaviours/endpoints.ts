import { resolve } from 'node:path';
import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, isText, matches } from './check.ts';
import { chat, STORY } from './servers.ts';

const key = { authorization: 'Bearer key-of-ann' };
const story = { prompt: STORY, max_tokens: 4 };
const preflight = {
  origin: 'https://page.example',
  'access-control-request-method': 'POST',
  'access-control-request-headers': 'authorization',
};

/** Health, models, keys and pages of other origins. */
export const endpoints: readonly Behaviour[] = [
  {
    askedBy: [
      llama('test_basic', 'test_server_start_simple'),
      vllm('serve/instrumentator/test_basic', 'test_check_health'),
    ],
    says: '`GET /health` answers 200 while the server is up.',
    run: async ({ tiny }) => matches(await tiny.get('/health'), { status: 200 }),
  },
  {
    askedBy: [vllm('serve/instrumentator/test_basic', 'test_health_check_engine_dead_error')],
    says: '`GET /health` answers 503 while the server cannot generate.',
    run: async ({ scripted }) => {
      const readiness = () => ({ ready: false, detail: {} });
      matches(await (await scripted({ says: 'ok', deps: { readiness } })).get('/health'), { status: 503 });
    },
  },
  {
    askedBy: [vllm('serve/instrumentator/test_basic', 'test_show_version')],
    says: '`GET /version` tells the server’s version.',
    run: async ({ tiny }) => isText((await tiny.get('/version')).body.version),
  },
  {
    askedBy: [llama('test_basic', 'test_server_models'), vllm('test_models', 'test_check_models')],
    says: '`GET /v1/models` lists the served model, with its own name as `root`.',
    run: async ({ tiny }) => {
      const data = [{ id: 'tiny-stories', root: 'tiny-stories', object: 'model' }];
      matches(await tiny.get('/v1/models'), { status: 200, body: { object: 'list', data } });
      assert.equal((await tiny.openai.models.list()).data[0]?.id, 'tiny-stories');
    },
  },
  {
    askedBy: [llama('test_basic', 'test_server_models'), llama('test_chat_completion', 'test_chat_completion')],
    says: 'The endpoints are also at the same paths without `/v1`.',
    run: async ({ tiny }) => {
      matches(await tiny.get('/models'), { status: 200, body: { data: [{ id: 'tiny-stories' }] } });
      matches(await tiny.post('/chat/completions', chat({ max_tokens: 2 })), { status: 200 });
      matches(await tiny.post('/completions', story), { status: 200 });
    },
  },
  {
    askedBy: [llama('test_basic', 'test_server_model_aliases_and_tags')],
    says: 'A model can have other names, which are listed and may be asked for.',
    run: async ({ scripted }) => {
      const server = await scripted({ says: 'ok', deps: { aliases: ['fim', 'code'] } });
      const { body } = await server.get('/v1/models');
      const ids = body.data.map(({ id }: { id: string }) => id);
      assert.ok(ids.includes('fim') && ids.includes('code'));
      await server.ok('/v1/completions', { ...story, model: 'code' });
    },
  },
  {
    askedBy: [llama('test_basic', 'test_server_model_aliases_and_tags')],
    says: 'The model’s one entry lists its other names in `aliases` and its labels in `tags`.',
    differs:
      'Each name is an entry of its own, as in vLLM, so that programs which only read ids find it. There are no tags.',
    run: async ({ scripted }) => {
      const { body } = await (await scripted({ says: 'ok', deps: { aliases: ['fim'] } })).get('/v1/models');
      matches(body.data, [{ aliases: ['fim'], tags: [] }]);
    },
  },
  {
    askedBy: [
      llama('test_chat_completion', 'test_chat_completion_with_openai_library'),
      llama('test_completion', 'test_completion_with_openai_library'),
    ],
    says: 'A request for any other model is answered by the one that is served.',
    differs:
      'An unknown name is 404 `model_not_found`, as in OpenAI’s API and vLLM. Leave the name out, or let the operator name it with `--model-alias`.',
    run: async ({ tiny }) => {
      await tiny.ok('/v1/completions', { ...story, model: 'gpt-3.5-turbo-instruct' });
    },
  },
  {
    askedBy: [llama('test_completion', 'test_completion_stream_vs_non_stream')],
    says: 'A request without a model is answered by the one that is served.',
    run: async ({ tiny }) => matches(await tiny.ok('/v1/completions', story), { model: 'tiny-stories' }),
  },
  {
    askedBy: [
      llama('test_security', 'test_access_public_endpoint'),
      vllm('serve/middleware/test_authentication_middleware', 'test_auto_discovered_unprotected_routes_no_auth'),
    ],
    says: 'Where keys are required, `/health` is answered without one.',
    run: async ({ scripted }) => {
      matches(await (await scripted({ says: 'ok', keys: true })).get('/health'), { status: 200 });
    },
  },
  {
    askedBy: [llama('test_security', 'test_access_public_endpoint')],
    says: 'Where keys are required, the list of models is public.',
    differs: 'All of `/v1` requires the key, as in OpenAI’s API and vLLM.',
    run: async ({ scripted }) => {
      matches(await (await scripted({ says: 'ok', keys: true })).get('/v1/models'), { status: 200 });
    },
  },
  {
    askedBy: [llama('test_security', 'test_access_static_assets_without_api_key')],
    says: 'Where keys are required, the pages are served without one.',
    run: async ({ scripted }) => {
      const server = await scripted({
        says: 'ok',
        keys: true,
        deps: { staticRoots: { donor: resolve('apps/donor/dist'), console: resolve('apps/console/dist') } },
      });
      for (const page of ['/', '/playground', '/docs']) matches(await server.get(page), { status: 200 });
    },
  },
  {
    askedBy: [
      llama('test_security', 'test_incorrect_api_key'),
      vllm('chat_completion/test_root_path', 'test_chat_session_root_path_with_api_key'),
      vllm('serve/middleware/test_authentication_middleware', 'test_auto_discovered_protected_routes_require_auth'),
    ],
    says: 'Without a key, or with a wrong one, the answer is 401 with an error.',
    run: async ({ scripted }) => {
      const server = await scripted({ says: 'ok', keys: true });
      for (const headers of [{}, { authorization: 'Bearer invalid-key' }]) {
        const { status, body } = await server.post('/v1/completions', story, headers);
        assert.equal(status, 401);
        isText(body.error.message);
      }
    },
  },
  {
    askedBy: [llama('test_security', 'test_incorrect_api_key')],
    says: 'The error of a wrong key has the type `authentication_error`.',
    differs:
      'OpenAI’s own type is `invalid_request_error`, with the code `invalid_api_key`. `/v1/messages` has Anthropic’s.',
    run: async ({ scripted }) => {
      const { body } = await (await scripted({ says: 'ok', keys: true })).post('/v1/completions', story);
      matches(body.error, { type: 'authentication_error' });
    },
  },
  {
    askedBy: [
      llama('test_security', 'test_correct_api_key'),
      llama('test_security', 'test_openai_library_correct_api_key'),
      vllm('chat_completion/test_root_path', 'test_chat_session_root_path_with_api_key'),
    ],
    says: 'With the key as `Authorization: Bearer …` the request is answered.',
    run: async ({ scripted }) => {
      const server = await scripted({ says: 'ok', keys: true });
      matches(await server.post('/v1/completions', story, key), { status: 200 });
      matches(await server.post('/v1/chat/completions', chat({}), key), { status: 200 });
    },
  },
  {
    askedBy: [llama('test_security', 'test_correct_api_key_anthropic_header')],
    says: 'The key may come as `X-Api-Key` too.',
    run: async ({ scripted }) => {
      const server = await scripted({ says: 'ok', keys: true });
      matches(await server.post('/v1/completions', story, { 'x-api-key': 'key-of-ann' }), { status: 200 });
    },
  },
  {
    askedBy: [
      vllm('serve/middleware/test_authentication_middleware', 'test_trailing_slash_does_not_unguard_a_protected_path'),
    ],
    says: 'A path with a slash at its end is the same path, and requires the key too.',
    run: async ({ scripted }) => {
      const server = await scripted({ says: 'ok', keys: true });
      matches(await server.get('/v1/models/'), { status: 401 });
      matches(await server.get('/v1/models/', key), { status: 200 });
      matches(await server.get('/health/'), { status: 200 });
    },
  },
  {
    askedBy: [
      llama('test_security', 'test_cors_options'),
      vllm('serve/middleware/test_authentication_middleware', 'test_cors_preflight_needs_no_token_and_returns_no_data'),
    ],
    says: 'A browser’s preflight is answered without a key and allows pages of other origins to send POST with their headers.',
    run: async ({ scripted }) => {
      const server = await scripted({ says: 'ok', keys: true });
      const { status, headers, body } = await server.send('OPTIONS', '/v1/completions', preflight);
      assert.ok(status === 200 || status === 204);
      assert.equal(body, '');
      assert.match(headers.get('access-control-allow-origin') ?? '', /^(\*|https:\/\/page\.example)$/);
      assert.match(headers.get('access-control-allow-methods') ?? '', /POST/);
      assert.match(headers.get('access-control-allow-headers') ?? '', /authorization|\*/i);
    },
  },
  {
    askedBy: [llama('test_security', 'test_cors_options')],
    says: 'The preflight’s answer is 200, names the page’s own origin and allows credentials.',
    differs:
      'There are no cookies to send: any origin is allowed with `*` and without credentials, and the answer is 204.',
    run: async ({ scripted }) => {
      const server = await scripted({ says: 'ok', keys: true });
      const { status, headers } = await server.send('OPTIONS', '/v1/completions', preflight);
      assert.equal(status, 200);
      assert.equal(headers.get('access-control-allow-origin'), preflight.origin);
      assert.equal(headers.get('access-control-allow-credentials'), 'true');
    },
  },
];
