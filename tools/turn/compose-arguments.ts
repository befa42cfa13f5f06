import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

const COMPOSE_FILE = join(import.meta.dirname, '../../docker-compose.yml');

/** The arguments of the compose file's TURN server, with these values for its variables; others are empty. */
export function turnArguments(values: Record<string, string>, file = COMPOSE_FILE): string[] {
  const { services } = parse(readFileSync(file, 'utf8')) as { services: { coturn: { command: string[] } } };
  return services.coturn.command.map((argument) =>
    argument.replace(/\$\{(\w+)[^}]*\}/g, (_, name: string) => values[name] ?? ''),
  );
}
