export { type Ban, BanError, Bans, banView } from './bans.ts';
export { StoredBans } from './stored-bans.ts';
