import { join } from 'node:path';
import { readTokenizerFiles, type TokenizerFiles } from '@shoal/model/node';
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

/** The tokenizer of the default model. */
export const TINY_FILES: TokenizerFiles = await readTokenizerFiles(TINY_STORIES);

/** The same with another chat template. */
export const withTemplate = (template: string): TokenizerFiles => ({ ...TINY_FILES, template });

export const ENDLESS_FILES = withTemplate(TEMPLATE);
