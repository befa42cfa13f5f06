import type { ModelConfig } from '@shoal/model';
import type { Config } from '../config.ts';
import type { Coordinator } from '../coordinator.ts';
import type { Database } from '../database/index.ts';
import { lapsPerPass, type LocalLayerChoice } from '../local-experts/choose-layers.ts';
import { formatBytes } from './progress.ts';
import { qrCode } from './qr-code.ts';
import { type Reachable, reachableUrls } from './reach.ts';

/** A machine with many containers has many addresses, which all look the same. */
const MAX_SHOWN = 8;
/** What donors on other machines need. */
const HTTPS_REMEDY = `Browsers lend a GPU or a processor only to https and localhost. Put a proxy with TLS in front
(docs/OPERATIONS.md, "Donors on other machines"); to try it from one machine: ssh -L`;

interface Terminal {
  isTTY?: boolean;
  columns?: number;
}

/** What the start prints: the address of each page, from this machine and from others, and the admin token if it was not given. */
export function addresses(
  coordinator: Coordinator,
  config: Pick<Config, 'host' | 'adminToken'>,
  terminal: Terminal,
): string {
  const { url, udpPort, adminToken, access, records, scheduler, localLayers, draftModel, head } = coordinator;
  const isGenerated = config.adminToken === undefined;
  const showToken = isGenerated && adminToken !== undefined;
  return `
Shoal serves ${scheduler.modelId}.${localLayersText(localLayers, coordinator.config)}${draftModelText(draftModel)}${headText(head)}

  lend a GPU    ${url}/
  playground    ${url}/playground
  lab           ${url}/lab
  console       ${url}/console${showToken ? `#token=${adminToken}` : ''}
  API           ${url}/v1        (OpenAI-compatible)
  API docs      ${url}/docs
${udpPort === undefined ? '' : `  WebRTC        UDP port ${udpPort}\n`}${isGenerated ? adminText(adminToken, access.file === undefined ? records?.database : undefined) : ''}${settingsText(coordinator.settings)}
${reachText(reachableUrls(config.host, Number(new URL(url).port)), url, terminal)}
Ctrl-C to stop.
`;
}

/** From where else it can be reached, what works there, and a code for a telephone's camera. */
export function reachText(all: readonly Reachable[], own: string, terminal: Terminal): string {
  const port = new URL(own).port;
  const remedy = `${HTTPS_REMEDY} ${port}:localhost:${port} THIS_MACHINE, then http://localhost:${port}/.`;
  if (all.length === 0)
    return `Only this machine can reach it; --host 0.0.0.0 lets others (--host :: by IPv6 as well).\n${remedy}`;
  const shown = all.slice(0, MAX_SHOWN);
  const width = Math.max(...shown.map(({ url }) => url.length));
  const lines = shown.map(
    ({ url, through }) => `  ${through === undefined ? url : `${url.padEnd(width)}   (${through})`}`,
  );
  if (all.length > shown.length) lines.push(`  and ${all.length - shown.length} more`);
  const phone = all.find(({ isVirtual }) => !isVirtual);
  const code = phone && terminal.isTTY === true ? qrCode(`${phone.url}/playground`, terminal.columns) : undefined;
  return `Other machines reach it at
${lines.join('\n')}
There the playground, the lab, the console and the API work.
${remedy}${code === undefined ? '' : `\n\n${code}  ${phone!.url}/playground on a phone in this network\n`}`;
}

/** A token that is kept is shown once, at the start that made it. `database`: where it is kept. */
function adminText(adminToken: string | undefined, database: Pick<Database, 'kind' | 'place'> | undefined): string {
  if (adminToken !== undefined)
    return `\n  admin token   ${adminToken}${database ? '   (shown this once; it stays valid)' : ''}\n`;
  if (!database) return '';
  const where = database.kind === 'embedded' ? `--data ${database.place}` : '--database …';
  return `\n  admin token   as before; for a new one: npx shoal admin add NAME ${where}\n`;
}

/** What operators have set at the console in the place of what options say. */
function settingsText(settings: Coordinator['settings']): string {
  const lines = settings.overrides().map((text) => `  by a setting  ${text}\n`);
  return lines.length === 0 ? '' : `\n${lines.join('')}`;
}

function localLayersText(localLayers: LocalLayerChoice, config: ModelConfig): string {
  const { layers, bytes, mtp } = localLayers;
  if (bytes === 0) return '';
  const laps = lapsPerPass(config, localLayers);
  const module = mtp === 'local' ? ', with those of the MTP module' : '';
  return `
The coordinator holds the experts of ${layers.length} of ${layers.length + laps} layers (${formatBytes(bytes)}${module}): ${laps} laps per token.`;
}

function headText(head: Coordinator['head']): string {
  return head ? `\n${head.name} drafts for it.` : '';
}

function draftModelText(draftModel: Coordinator['draftModel']): string {
  return draftModel ? `\n${draftModel.modelId} drafts for it (${formatBytes(draftModel.bytes)}).` : '';
}
