import type { FastifyInstance } from 'fastify';
import type { HttpDeps } from './deps.ts';
import { ApiError } from './errors.ts';
import type { ModelEntry } from './response-schema.ts';

/** The served model and its other names. */
export function registerModels(app: FastifyInstance, deps: HttpDeps): void {
  const { modelId, maxContext } = deps.generation;
  const { convention, templateTraits } = deps;
  const created = Math.floor(Date.now() / 1000);
  const entryOf = (id: string): ModelEntry => ({
    id,
    object: 'model',
    // Anthropic's clients read the next three.
    type: 'model',
    display_name: id,
    created_at: new Date(1000 * created).toISOString(),
    created,
    owned_by: 'shoal',
    root: modelId,
    max_model_len: maxContext,
    shoal: {
      convention: convention.name,
      tools: templateTraits?.tools ? 'template' : 'described',
      reasoning: convention.reasons,
    },
  });
  const ids = [modelId, ...deps.aliases];
  app.get('/v1/models', () => ({ object: 'list', data: ids.map(entryOf) }));
  // A wildcard, since ids may contain a slash.
  app.get<{ Params: { '*': string } }>('/v1/models/*', (request) => {
    const id = request.params['*'];
    if (!ids.includes(id)) throw ApiError.unknownModel(modelId);
    return entryOf(id);
  });
}
