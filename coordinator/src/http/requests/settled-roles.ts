import type { ChatMessage, TemplateTraits } from '@shoal/model';

const BETWEEN = '\n\n';

/**
 * A conversation as its template takes it. Agents send several instructions, and reminders at any place; many templates fail at
 * that, or print only the first. For these there is one system message at the beginning, and a later one is given to the user. Where
 * a template wants the user and the assistant in turn, what the user is told in a row is one message.
 */
export function settledRoles(
  messages: readonly ChatMessage[],
  { systemAnywhere, usersInARow }: Pick<TemplateTraits, 'systemAnywhere' | 'usersInARow'>,
): ChatMessage[] {
  const settled: ChatMessage[] = [];
  /** Texts of the last one, joined at its end: a client may send thousands. */
  let texts: string[] = [];
  const join = (): void => {
    const last = settled.at(-1);
    const isChanged = texts.length > 1 || (texts.length === 1 && texts[0] !== last?.content);
    if (last && isChanged) settled[settled.length - 1] = { ...last, content: texts.join(BETWEEN) };
  };
  for (const message of messages) {
    const last = settled.at(-1);
    const isLate = message.role === 'system' && last !== undefined && last.role !== 'system';
    const role = isLate && !systemAnywhere ? 'user' : message.role;
    const isJoined = role === 'system' ? !systemAnywhere : role === 'user' && (!usersInARow || role !== message.role);
    if (isJoined && last?.role === role) {
      if (message.content) texts.push(message.content);
    } else {
      join();
      settled.push({ ...message, role });
      texts = message.content ? [message.content] : [];
    }
  }
  join();
  return settled;
}
