const YEAR = '\\d{4}';
const LEAP_YEAR = '(?:\\d{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)';
const DATE =
  `(?:${YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)` +
  `|02-(?:0[1-9]|1\\d|2[0-8]))|${LEAP_YEAR}-02-29)`;
const CLOCK = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?';
const ZONE = '(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)';
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
/** Short enough for every label to have its full length. */
const HOSTNAME = `${LABEL}(?:\\.${LABEL}){0,2}`;
const OCTET = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const IPV4 = `${OCTET}(?:\\.${OCTET}){3}`;
const GROUP = '[0-9a-f]{1,4}';
const IPV6 =
  `(?:(?:${GROUP}:){7}${GROUP}|::(?:${GROUP}:){0,6}${GROUP}|::` +
  `|${GROUP}::(?:(?:${GROUP}:){0,4}${GROUP})?|(?:${GROUP}:){2,5}:${GROUP}|(?:${GROUP}:){1,6}:)`;
const PATH = "(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})*)*";
const QUERY = "(?:\\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-F]{2})*)?";
const FRAGMENT = QUERY.replace('\\?', '#');
const URI = `[a-z][a-z0-9+.-]{0,15}://${HOSTNAME}(?::[1-9]\\d{0,3})?${PATH}${QUERY}${FRAGMENT}`;
const DURATION =
  '(?:P(?:\\d{1,9}W|(?:\\d{1,9}Y(?:\\d{1,9}M(?:\\d{1,9}D)?)?|\\d{1,9}M(?:\\d{1,9}D)?|\\d{1,9}D)' +
  '(?:T(?:\\d{1,9}H(?:\\d{1,9}M(?:\\d{1,9}S)?)?|\\d{1,9}M(?:\\d{1,9}S)?|\\d{1,9}S))?' +
  '|T(?:\\d{1,9}H(?:\\d{1,9}M(?:\\d{1,9}S)?)?|\\d{1,9}M(?:\\d{1,9}S)?|\\d{1,9}S)))';
const POINTER = '(?:/(?:[A-Za-z0-9_.-]|~[01])*)*';

/** What is written for each format: texts that validators accept, if not all of them. */
const PATTERNS: Readonly<Record<string, string>> = {
  date: DATE,
  time: `${CLOCK}${ZONE}`,
  'date-time': `${DATE}T${CLOCK}${ZONE}`,
  'iso-time': `${CLOCK}(?:${ZONE})?`,
  'iso-date-time': `${DATE}T${CLOCK}(?:${ZONE})?`,
  duration: DURATION,
  email: `[A-Za-z0-9_+-]+(?:\\.[A-Za-z0-9_+-]+)*@${LABEL}(?:\\.${LABEL}){1,2}`,
  hostname: HOSTNAME,
  ipv4: IPV4,
  ipv6: IPV6,
  uri: URI,
  url: `https?://[a-z0-9]{1,40}(?:\\.[a-z0-9]{1,20})?\\.[a-z]{2,6}(?::[1-9]\\d{2,3})?(?:/[A-Za-z0-9._~-]*)*`,
  'uri-reference': `(?:${URI}|/[A-Za-z0-9._~-]*${PATH})`,
  uuid: '[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}',
  'json-pointer': POINTER,
  byte: '(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?',
};

/** These say nothing about the text. */
const FREE = new Set(['password', 'binary']);

export const STRING_FORMATS: readonly string[] = [...Object.keys(PATTERNS), 'password', 'binary'];

/** What a format's strings match; undefined if it says nothing, null if it is unknown. */
export function formatPattern(format: string): string | undefined | null {
  if (FREE.has(format)) return undefined;
  return Object.hasOwn(PATTERNS, format) ? `^(?:${PATTERNS[format]!})$` : null;
}
