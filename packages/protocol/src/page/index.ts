export { type CoordinatorUrl, coordinatorUrl, placeOf, socketAt } from './coordinator-url.ts';
export { openStorage, type PageStorage, type PageTexts } from './storage.ts';
