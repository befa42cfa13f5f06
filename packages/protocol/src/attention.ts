import { z } from 'zod';

/**
 * `urgent`: answers fail or are about to. `warning`: something to mend today. `notice`: worth knowing, and nobody is told of it
 * while they are not looking.
 */
export const SEVERITIES = ['urgent', 'warning', 'notice'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** Something that needs an operator's attention. */
export const attentionItemSchema = z.object({
  /** The same for as long as the condition lasts, and at all coordinators of a cluster: the rule's name, and whose condition it is. */
  key: z.string().min(1).max(320),
  severity: z.enum(SEVERITIES),
  /** What is the matter, in one sentence without its full stop. */
  text: z.string().max(1024),
  /** What to do about it, in one sentence or two. */
  remedy: z.string().max(1024),
  /** Where in the console to look: `#peers`, `#map`, `#flow`, `#requests`, `#events`, `#coordinators`. */
  href: z.string().max(64),
  /** Since when the condition has held, in epoch milliseconds. */
  sinceMs: z.number(),
  /** Name of the coordinator that it is about, if it is about one. */
  coordinator: z.string().max(256).optional(),
});
export type AttentionItem = z.infer<typeof attentionItemSchema>;

/** The most urgent first, and among those of a severity the one that has lasted longest. */
export function ranked(items: readonly AttentionItem[]): AttentionItem[] {
  const rank = ({ severity }: AttentionItem): number => SEVERITIES.indexOf(severity);
  return items.toSorted((a, b) => rank(a) - rank(b) || a.sinceMs - b.sinceMs || a.key.localeCompare(b.key));
}

/** What a webhook is sent, as JSON. docs/OPERATIONS.md describes it for people. */
export interface AlertMessage {
  /** The same for all messages about one occurrence of a condition, and for each repetition of one. */
  id: string;
  state: 'firing' | 'resolved' | 'test';
  key: string;
  severity: Severity;
  /** All of it in one line, under the names by which Slack, Mattermost (`text`) and Discord (`content`) read it. */
  text: string;
  content: string;
  summary: string;
  remedy: string;
  /** ISO 8601. `endedAt` is only there once it is resolved. */
  startedAt: string;
  endedAt?: string;
  model: string;
  /** Names of the coordinator that sends this, and of the one that it is about. */
  sender: string;
  coordinator?: string;
}

/** What came of the alerts, for the console. */
export interface AlertsView {
  /** Host of the webhook, without the rest of its URL, which is a secret with many services; null if there is none. */
  webhook: string | null;
  /** Whether messages are signed. */
  isSigned: boolean;
  /** Conditions that were told and still hold. */
  open: { key: string; text: string; sinceMs: number }[];
  /** Of this process: messages delivered, given up, and those that wait. */
  delivered: number;
  failed: number;
  waiting: number;
  /** Why the last attempt failed; null if it did not. */
  lastError: string | null;
}
