export { Alerter } from './alerter.ts';
export { databaseAlerts, forgetfulAlerts } from './alert-store.ts';
export { Webhook } from './webhook.ts';
