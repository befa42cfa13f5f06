import type { ChatRequestMessage } from './chat-schema.ts';

const BETWEEN = '\n\n';

/**
 * The same conversation as published templates take it: with one system message, at the beginning, and no two messages of the user in
 * a row. Agents send several instructions and reminders at any place, at which templates fail or of which they print only the first.
 * A later system message is given to the user.
 */
export function settledRoles(messages: readonly ChatRequestMessage[]): ChatRequestMessage[] {
  const settled: ChatRequestMessage[] = [];
  for (const message of messages) {
    const isInstruction = message.role === 'system' || message.role === 'developer';
    const last = settled.at(-1);
    const role = isInstruction ? (last === undefined || last.role === 'system' ? 'system' : 'user') : message.role;
    if (last?.role === role && (role === 'system' || role === 'user')) {
      last.content = [last.content, message.content].filter((text) => text !== '').join(BETWEEN);
    } else settled.push({ ...message, role });
  }
  return settled;
}
