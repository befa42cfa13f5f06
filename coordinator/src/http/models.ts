import type { FastifyInstance } from 'fastify';
import { AUTO_MODEL } from '../adapters/adapter-chooser.ts';
import type { ServedAdapter } from '../adapters/served-adapter.ts';
import type { HttpDeps } from './deps.ts';
import { ApiError } from './errors.ts';
import type { ModelEntry } from './response-schema.ts';

/** The served model, its other names and its adapters, and with these the name by which requests have one chosen. */
export function registerModels(app: FastifyInstance, deps: HttpDeps): void {
  const { modelId } = deps.generation;
  const { convention, templateTraits } = deps;
  const languages = [...(deps.source?.languages.keys() ?? [])].toSorted();
  const created = Math.floor(Date.now() / 1000);
  const entryOf = (id: string, adapter?: ServedAdapter): ModelEntry => ({
    id,
    object: 'model',
    // Anthropic's clients read the next three.
    type: 'model',
    display_name: id,
    created_at: (adapter?.loadedAt ?? new Date(1000 * created)).toISOString(),
    created: adapter ? Math.floor(adapter.loadedAt.getTime() / 1000) : created,
    owned_by: 'shoal',
    root: modelId,
    ...(adapter && { parent: modelId }),
    max_model_len: deps.generation.maxContextUnder(adapter),
    shoal: {
      convention: convention.name,
      tools: deps.source ? 'none' : templateTraits?.tools ? 'template' : 'described',
      reasoning: convention.reasons,
      ...(adapter?.about.description && { description: adapter.about.description }),
      ...(languages.length > 0 && { languages }),
      ...(deps.embeddings && { dimensions: deps.embeddings.dimensions }),
    },
  });
  const ids = [modelId, ...deps.aliases];
  app.get('/v1/models', () => {
    const adapters = deps.adapters?.all ?? [];
    const listed = adapters.length > 0 && deps.adapters?.isAuto(AUTO_MODEL) ? [...ids, AUTO_MODEL] : ids;
    const data = [...listed.map((id) => entryOf(id)), ...adapters.map((adapter) => entryOf(adapter.name, adapter))];
    return { object: 'list', data };
  });
  // A wildcard, since ids may contain a slash.
  app.get<{ Params: { '*': string } }>('/v1/models/*', (request) => {
    const id = request.params['*'];
    const adapter = deps.adapters?.find(id);
    if (!adapter && !ids.includes(id) && !deps.adapters?.isAuto(id)) throw ApiError.unknownModel(modelId);
    return entryOf(id, adapter);
  });
}
