import { effect, signal } from '@preact/signals';
import type { AttentionItem } from '@shoal/protocol';
import { openStorage } from '@shoal/protocol/page';
import { link, snapshot } from '../connection.ts';

const KEY = 'shoal-notify';
/** The choice holds until the page is closed where site data is blocked. */
const storage = openStorage(() => localStorage);

/** Whether the browser is to say what needs attention while this page is not looked at. */
export const notifying = signal(storage.getItem(KEY) === 'on' && permission() === 'granted');
/** Why it can't, in words; null if it can. */
export const notifyFault = signal<string | null>(null);

/** What the page has seen already: only what is new is told. Null before the first figures. */
let seen: Set<string> | null = null;

function permission(): NotificationPermission | 'none' {
  return 'Notification' in window ? Notification.permission : 'none';
}

function keep(isOn: boolean): void {
  if (isOn) storage.setItem(KEY, 'on');
  else storage.removeItem(KEY);
}

/** Asks for permission where that is needed. */
export async function setNotifying(isOn: boolean): Promise<void> {
  notifyFault.value = null;
  if (isOn && permission() === 'none') {
    notifyFault.value = 'This browser shows no notifications here. They need https or localhost.';
  } else if (isOn && (await Notification.requestPermission()) !== 'granted') {
    notifyFault.value = 'Your browser does not allow notifications from this page. Its settings for this site say so.';
  }
  notifying.value = isOn && notifyFault.value === null;
  keep(notifying.value);
}

/** What is new among them, and worth a notification. */
export function newsAmong(items: readonly AttentionItem[], before: ReadonlySet<string>): AttentionItem[] {
  return items.filter(({ key, severity }) => severity !== 'notice' && !before.has(key));
}

effect(() => {
  const now = snapshot.value;
  if (link.value.state === 'signed-out') seen = null;
  if (!now) return;
  const before = seen;
  seen = new Set(now.attention.flatMap(({ key, severity }) => (severity === 'notice' ? [] : [key])));
  if (before === null || !notifying.value || !document.hidden) return;
  for (const item of newsAmong(now.attention, before)) show(item, now.modelId);
});

function show({ key, text, remedy, severity, href }: AttentionItem, modelId: string): void {
  const options = { body: `${text}. ${remedy}`, tag: key, requireInteraction: severity === 'urgent' };
  const shown = new Notification(`${modelId} needs attention`, options);
  shown.addEventListener('click', () => {
    window.focus();
    document.querySelector(href)?.scrollIntoView();
    shown.close();
  });
}
