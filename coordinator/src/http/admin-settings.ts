import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type SettingChange, SettingsError } from '../settings/index.ts';
import type { AdminAccess, SignedInAdmin } from './deps.ts';
import { ApiError } from './errors.ts';

const STATUS = {
  invalid: [400, 'invalid_value'],
  locked: [409, 'locked'],
  away: [503, 'database_away'],
} as const;

/** What operators change while the coordinator runs. Viewers see it, but no secrets. */
export function registerSettings(
  app: FastifyInstance,
  { settings, note }: Pick<AdminAccess, 'settings' | 'note'>,
  adminOf: (request: FastifyRequest) => SignedInAdmin,
): void {
  app.get('/admin/settings', (request) => settings.view(adminOf(request).role === 'operator'));
  app.patch('/admin/settings', (request) => {
    const { name: admin } = adminOf(request);
    const tell = (changes: readonly SettingChange[]) => {
      for (const { name, from, to } of changes) note(request.raw, admin, `set ${name} from ${from} to ${to}`);
      return settings.view(true);
    };
    return settings.change(request.body, admin).then(tell, refuse);
  });
}

function refuse(error: unknown): never {
  if (!(error instanceof SettingsError)) throw error;
  const [status, code] = STATUS[error.reason];
  throw new ApiError(status, error.message, { code, param: error.param ?? null });
}
