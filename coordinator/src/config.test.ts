import { describe, expect, it } from 'vitest';
import { MAX_LAP_CONNECTIONS } from '@shoal/protocol';
import { UsageError } from './base/usage-error.ts';
import { configHelp, configMarkdown, defaultConfig, parseConfig, ROOT_DIR } from './config.ts';

const parse = (argv: string[] = [], env: Record<string, string> = {}) => parseConfig(argv, env);

describe('parseConfig', () => {
  it('has defaults that start the default model', () => {
    expect(parse()).toMatchObject({
      host: '127.0.0.1',
      port: 8787,
      replicas: 2,
      iceServers: [],
      drainTimeoutMs: 15_000,
      logLevel: 'warn',
    });
    expect(parse().model.startsWith(ROOT_DIR)).toBe(true);
    expect(parse().adminToken).toBeUndefined();
    // Given by a packed directory.
    expect(parse().quant).toBeUndefined();
  });

  it('reads flags first, then the environment, where an empty variable is unset', () => {
    const env = { SHOAL_PORT: '1000', SHOAL_HOST: '', SHOAL_QUANT: 'q8' };
    expect(parse(['--port', '2000'], env)).toMatchObject({ port: 2000, host: '127.0.0.1', quant: 'q8' });
  });

  it('has switches that are off unless given, as a flag or as 1', () => {
    expect(parse()).toMatchObject({ trustProxy: false });
    expect(parse().accessFile).toBeUndefined();
    expect(parse(['--trust-proxy', '--access', 'access.json']).trustProxy).toBe(true);
    expect(parse(['--access', '/etc/shoal/access.json']).accessFile).toBe('/etc/shoal/access.json');
    expect(parse([], { SHOAL_TRUST_PROXY: '1' }).trustProxy).toBe(true);
    expect(parse([], { SHOAL_TRUST_PROXY: '0' }).trustProxy).toBe(false);
    expect(parse().cpuDonors).toBe(true);
    expect(parse(['--no-cpu-donors']).cpuDonors).toBe(false);
    expect(parse([], { SHOAL_NO_CPU_DONORS: '1' }).cpuDonors).toBe(false);
    expect(configHelp()).toMatch(/--trust-proxy {2,}\S/);
  });

  it('has half-batches set to auto by default', () => {
    expect(parse().halfBatches).toBe('auto');
    expect(parse(['--half-batches', 'off'], { SHOAL_HALF_BATCHES: 'on' }).halfBatches).toBe('off');
    expect(() => parse(['--half-batches', '3'])).toThrow(/--half-batches .*takes auto, on, off, not "3"/);
  });

  it('holds no layers of experts by default', () => {
    expect(parse()).toMatchObject({ localExpertBytes: 0, mtpExperts: 'auto' });
    const given = parse(['--local-experts', '8GiB'], { SHOAL_MTP_EXPERTS: 'tabs' });
    expect(given).toMatchObject({ localExpertBytes: 8 * 2 ** 30, mtpExperts: 'tabs' });
  });

  it('takes all connections per tab that the protocol has', () => {
    expect(parse(['--lap-connections', String(MAX_LAP_CONNECTIONS)]).lapConnections).toBe(String(MAX_LAP_CONNECTIONS));
    expect(() => parse(['--lap-connections', String(MAX_LAP_CONNECTIONS + 1)])).toThrow(UsageError);
  });

  it.each<[string, string[], Record<string, string>]>([
    ['--port (SHOAL_PORT)', ['--port', '65536'], {}],
    ['--port (SHOAL_PORT)', [], { SHOAL_PORT: '80x' }],
    ['--quant (SHOAL_QUANT)', ['--quant', 'q2'], {}],
    ['--replicas (SHOAL_REPLICAS)', ['--replicas', '0'], {}],
    ['--model (SHOAL_MODEL)', ['--model', '/nowhere'], {}],
    ['--admin-token (SHOAL_ADMIN_TOKEN)', ['--admin-token', 'short'], {}],
    ['--trust-proxy (SHOAL_TRUST_PROXY)', [], { SHOAL_TRUST_PROXY: 'maybe' }],
    ['--local-experts (SHOAL_LOCAL_EXPERTS)', ['--local-experts', '8'], {}],
    ['--mtp-experts (SHOAL_MTP_EXPERTS)', [], { SHOAL_MTP_EXPERTS: 'gpu' }],
    ['--port (SHOAL_PORT)', ['--port', '8796-8787'], {}],
    ['--port (SHOAL_PORT)', ['--port', '0-9'], {}],
    ['--udp-ports (SHOAL_UDP_PORTS)', ['--udp-ports', '0'], {}],
    ['--udp-ports (SHOAL_UDP_PORTS)', ['--udp-ports', '40000-'], {}],
    ['--announce (SHOAL_ANNOUNCE)', ['--announce', '203.0.113.7:40000'], {}],
    ['--announce (SHOAL_ANNOUNCE)', ['--announce', '203.0.113'], {}],
    ['--turn-secret (SHOAL_TURN_SECRET)', ['--turn-secret', 'too short'], {}],
    ['--prot', ['--prot', '1'], {}],
  ])('refuses a wrong option by name: %s', (name, argv, env) => {
    expect(() => parse(argv, env)).toThrow(UsageError);
    expect(() => parse(argv, env)).toThrow(name);
  });

  it('takes a port or a range of ports, and addresses by number and by name', () => {
    const flags = [
      '--port',
      '8787-8796',
      '--udp-ports',
      '40000-40009',
      '--announce',
      '203.0.113.7, shoal.example.org,::1',
    ];
    expect(parse(flags)).toMatchObject({
      port: { first: 8787, last: 8796 },
      udpPorts: { first: 40_000, last: 40_009 },
      announce: ['203.0.113.7', 'shoal.example.org', '::1'],
    });
    expect(parse(['--port', '0', '--udp-ports', '40000'])).toMatchObject({
      port: 0,
      udpPorts: { first: 40_000, last: 40_000 },
    });
    expect(parse()).toMatchObject({ udpPorts: undefined, announce: [] });
  });

  it('takes ICE servers as browsers do, and refuses what WebRTC could not use', () => {
    const servers = [{ urls: ['stun:a.example:3478', 'turns:b.example'], username: 'u', credential: 'secret' }];
    expect(parse(['--ice-servers', JSON.stringify(servers)]).iceServers).toEqual(servers);
    for (const text of ['nonsense', '{}', '[{"urls":"http://a.example"}]', '[{"urls":"stun:"}]']) {
      expect(() => parse(['--ice-servers', text])).toThrow('--ice-servers');
    }
    // A credential stays out of terminals and logs.
    const broken = JSON.stringify(servers).slice(0, -1);
    expect(() => parse(['--ice-servers', broken])).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('secret') }),
    );
  });

  it('has no value that the admin token or a TURN credential could be read from in its errors', () => {
    expect(() => parse(['--admin-token', 'short'])).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('short') }),
    );
  });
});

describe('defaultConfig', () => {
  it('is what no flag and no variable give, with the overrides', () => {
    expect(defaultConfig()).toEqual(parse());
    expect(defaultConfig({ port: 0, quant: 'q8' })).toEqual({ ...parse(), port: 0, quant: 'q8' });
  });

  it('has every field', () => {
    expect(Object.keys(defaultConfig())).toContain('traceFile');
  });
});

describe('configHelp and configMarkdown', () => {
  it('have all options, with their variables and defaults', () => {
    for (const name of ['--port PORT', 'SHOAL_ICE_SERVERS', 'models', '(8787)']) expect(configHelp()).toContain(name);
    for (const name of ['`--port PORT', '`SHOAL_ICE_SERVERS`', 'models/tiny-stories', '`8787`'])
      expect(configMarkdown()).toContain(name);
    expect(configHelp() + configMarkdown()).not.toContain(ROOT_DIR);
  });
});
