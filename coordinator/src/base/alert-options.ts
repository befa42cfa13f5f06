import { option } from './options.ts';
import { text, type ValueKind } from './option-values.ts';
import { UsageError } from './usage-error.ts';

/** An http or https address. */
const WEB_URL: ValueKind<URL> = {
  value: 'URL',
  parse: (given) => {
    const url = URL.canParse(given) ? new URL(given) : undefined;
    if (url && /^https?:$/.test(url.protocol)) return url;
    throw new UsageError('takes an address such as https://shoal.example');
  },
};

/** Options of what an operator is told while nobody looks. */
export const ALERT_OPTIONS = {
  publicUrl: option('public-url', WEB_URL, {
    defaultText: 'not known',
    help: 'address that people open in a browser, such as https://shoal.example',
    more: 'Alerts link to it, and the end of its certificate is watched ([below](#what-needs-attention)).',
  }),
  alertWebhook: option('alert-webhook', WEB_URL, {
    defaultText: 'none',
    help: 'address that is sent a message (POST) when something needs attention for a while, and when it no longer does',
    more: 'As Slack, Mattermost, Discord and ntfy take it. See [below](#alerts).',
  }),
  alertSecret: option('alert-secret', text('SECRET'), {
    defaultText: 'none: messages are not signed',
    help: 'secret by which messages to --alert-webhook are signed (HMAC-SHA-256)',
    more: 'Better as a variable, which is in no list of processes.',
  }),
};
