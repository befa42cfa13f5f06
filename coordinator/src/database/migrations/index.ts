import type { Migration } from 'kysely';
import * as first from './001-first.ts';
import * as tabOrders from './002-tab-orders.ts';
import * as contribution from './003-contribution.ts';
import * as history from './004-history.ts';

/** All migrations, by their names, which sort in the order in which they run. One that has been released is never changed. */
export const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '001-first': first,
  '002-tab-orders': tabOrders,
  '003-contribution': contribution,
  '004-history': history,
};
