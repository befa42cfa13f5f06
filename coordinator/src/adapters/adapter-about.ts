import { join } from 'node:path';
import { AdapterError, messageOf, ModelError } from '@shoal/model';
import { parseJson, readTextIfPresent } from '@shoal/model/node';
import { z } from 'zod';

/** What an adapter is for, in words and by prompts that are for it; `model: "auto"` chooses by these. */
export interface AdapterAbout {
  description: string;
  examples: readonly string[];
}

/** Beside adapter_config.json. Not a key of it, since PEFT refuses or drops keys that it doesn't know. */
export const ABOUT_FILE = 'shoal_adapter.json';
/** Each text costs a vector of the model's size; a request is compared with all of them. */
const MAX_EXAMPLES = 32;
const MAX_CHARS = 1024;

export const aboutFields = {
  description: z.string().max(MAX_CHARS).default(''),
  examples: z.array(z.string().min(1).max(MAX_CHARS)).max(MAX_EXAMPLES).default([]),
};
const aboutSchema = z.strictObject(aboutFields);

/** What an adapter's folder says of it; nothing where it has no such file. Throws an AdapterError that names the key. */
export async function readAbout(dir: string): Promise<AdapterAbout> {
  const path = join(dir, ABOUT_FILE);
  try {
    const text = await readTextIfPresent(path);
    if (text === undefined) return { description: '', examples: [] };
    const parsed = aboutSchema.safeParse(parseJson({ path: ABOUT_FILE, text }));
    if (parsed.success) return parsed.data;
    const { path: key, message } = parsed.error.issues[0]!;
    throw new AdapterError('bad-value', `${ABOUT_FILE}: ${key.map(String).join('.') || 'the file'}: ${message}`);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new AdapterError('unreadable', messageOf(error), { cause: error });
  }
}
