import type { FastifyInstance, FastifyRequest } from 'fastify';
import { AdapterError, messageOf } from '@shoal/model';
import { z } from 'zod';
import { adapterDirInside } from '../adapters/adapter-place.ts';
import { aboutFields } from '../adapters/adapter-about.ts';
import { AdaptersError, type AdaptersErrorReason } from '../adapters/adapters.ts';
import { parseBody } from './body.ts';
import type { HttpDeps } from './deps.ts';
import { ApiError } from './errors.ts';

/** Names and bodies as vLLM has them. */
export const LOAD_ADAPTER_URL = '/v1/load_lora_adapter';
export const UNLOAD_ADAPTER_URL = '/v1/unload_lora_adapter';

const MAX_TEXT_CHARS = 1024;
const text = z.string().min(1).max(MAX_TEXT_CHARS);

export const loadAdapterSchema = z.object({
  lora_name: text,
  /** A folder in the directory of --adapter-dir. */
  lora_path: text,
  /** Whether it may take the place of one of the same name. */
  load_inplace: z.boolean().default(false),
  /** What it is for, and prompts that are for it, in the place of what its folder says; `model: "auto"` chooses by these. */
  description: aboutFields.description.unwrap().nullish(),
  examples: aboutFields.examples.unwrap().nullish(),
});
export const unloadAdapterSchema = z.object({ lora_name: text, lora_int_id: z.int().nullish() });

const NOT_ALLOWED =
  'Adapters are loaded at run time only from the directory that the coordinator was started with as --adapter-dir.';

/** Loading and unloading of adapters at run time, for operators alone. */
export function registerLora(app: FastifyInstance, deps: HttpDeps): void {
  const { adapters, adapterRoot, access } = deps;
  const guarded = (request: FastifyRequest): NonNullable<HttpDeps['adapters']> => {
    if (!adapters || !access) throw ApiError.unknownRoute();
    const refusal = access.refuseOperator(request.raw, request.headers.authorization);
    if (refusal !== undefined) throw new ApiError(refusal.status, refusal.message, { code: refusal.code });
    return adapters;
  };
  app.post(LOAD_ADAPTER_URL, async (request, reply) => {
    const loader = guarded(request);
    const { lora_name: name, lora_path: path, ...more } = parseBody(loadAdapterSchema, request.body);
    if (adapterRoot === undefined) throw new ApiError(403, NOT_ALLOWED, { code: 'adapters_not_allowed' });
    const about = {
      ...(more.description != null && { description: more.description }),
      ...(more.examples != null && { examples: more.examples }),
    };
    const options = { replaces: more.load_inplace, about, shownSource: path };
    await told(async () => loader.load(name, await adapterDirInside(adapterRoot, path), options));
    return reply.type('text/plain').send(`Success: LoRA adapter '${name}' added successfully.`);
  });
  app.post(UNLOAD_ADAPTER_URL, async (request, reply) => {
    const loader = guarded(request);
    const { lora_name: name } = parseBody(unloadAdapterSchema, request.body);
    await told(async () => loader.unload(name));
    return reply.type('text/plain').send(`Success: LoRA adapter '${name}' removed successfully.`);
  });
}

const STATUS: Readonly<Record<AdaptersErrorReason, readonly [status: number, code: string]>> = {
  'bad-name': [400, 'invalid_value'],
  'name-taken': [400, 'adapter_exists'],
  unknown: [404, 'adapter_not_found'],
  full: [400, 'too_many_adapters'],
  busy: [503, 'busy'],
};

/** An adapter's fault is told in full: only operators can ask, and it names no file outside --adapter-dir. */
async function told<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AdaptersError) {
      const [status, code] = STATUS[error.reason];
      throw new ApiError(status, sentence(error.message), { param: 'lora_name', code });
    }
    if (error instanceof AdapterError) {
      throw ApiError.invalid('lora_path', sentence(messageOf(error)), `adapter_${error.reason.replaceAll('-', '_')}`);
    }
    throw error;
  }
}

const sentence = (text: string): string => `${text[0]!.toUpperCase()}${text.slice(1)}.`;
