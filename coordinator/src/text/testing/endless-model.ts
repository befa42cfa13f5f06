import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ChatMessage } from '../encode-task.ts';

const TINY_STORIES = join(import.meta.dirname, '../../../../models/tiny-stories');

/** Takes hours for two messages, and hands on the text of one. */
const TEMPLATE =
  '{% if messages | length == 2 %}{% for a in range(50000) %}{% for b in range(50000) %}{% endfor %}{% endfor %}{% endif %}' +
  '{{ messages[0].content }}';

/** What the model below never gets done with; too long for the thread of short texts. */
export const ENDLESS_CHAT: ChatMessage[] = [
  { role: 'user', content: 'x'.repeat(70_000) },
  { role: 'assistant', content: '' },
];

/** The tokenizer of the default model with another chat template, in a directory of its own. */
export async function modelWithTemplate(template = TEMPLATE): Promise<{ dir: string; remove(): Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), 'shoal-text-'));
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(TINY_STORIES, file), join(dir, file));
  await writeFile(join(dir, 'chat_template.jinja'), template);
  return { dir, remove: () => rm(dir, { recursive: true }) };
}
