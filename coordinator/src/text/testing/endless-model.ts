import { join } from 'node:path';
import { readTokenizerFiles, type TokenizerFiles } from '@shoal/model/node';
import type { ChatMessage } from '../encode-task.ts';

const TINY_STORIES = join(import.meta.dirname, '../../../../models/tiny-stories');

/** Takes all the steps that it is allowed for more than one message, and hands on the text of one. */
const TEMPLATE =
  '{% if messages | length > 1 %}{% for a in range(50000) %}{% for b in range(50000) %}{% endfor %}{% endfor %}{% endif %}' +
  '{{ messages[0].content }}';

/** What the model below takes longest for: so many messages are allowed half a minute. Too long for the thread of short texts. */
export const ENDLESS_CHAT: ChatMessage[] = Array.from({ length: 2_000 }, () => ({ role: 'user', content: '' }));

/** The tokenizer of the default model. */
export const TINY_FILES: TokenizerFiles = await readTokenizerFiles(TINY_STORIES);

/** The same with another chat template. */
export const withTemplate = (template: string): TokenizerFiles => ({ ...TINY_FILES, template });

export const ENDLESS_FILES = withTemplate(TEMPLATE);
