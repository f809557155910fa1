// A real OpenID Connect provider on a port of this machine, with the people and clients that a test names.
// usage: node provider.mjs MODULES CONFIGURATION     MODULES holds node_modules; prints one line when it listens
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [modules, text] = process.argv.slice(2);
const configuration = JSON.parse(text);
const { default: Provider } = await import(pathToFileURL(`${modules}/node_modules/oidc-provider/lib/index.js`));

// New keys at each start: a restart is a change of keys.
const [kind, options] = configuration.algorithm === 'EdDSA' ? ['ed25519'] : ['rsa', { modulusLength: 2048 }];
const key = () => generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' });

const provider = new Provider(configuration.issuer, {
  clients: configuration.clients,
  claims: configuration.claims,
  scopes: ['openid', 'offline_access', ...Object.keys(configuration.claims)],
  conformIdTokenClaims: configuration.conformIdTokenClaims,
  cookies: { keys: ['only for tests'] },
  jwks: { keys: [{ ...key(), use: 'sig', alg: configuration.algorithm }] },
  pkce: { required: () => true },
  findAccount: (_context, id) =>
    id in configuration.people
      ? { accountId: id, claims: () => ({ sub: id, ...configuration.people[id] }) }
      : undefined,
});
const server = provider.listen(new URL(configuration.issuer).port, '127.0.0.1', () => console.log('listening'));
// The tests' end is its own: nobody else would stop it.
process.stdin.resume().on('end', () => {
  server.close();
  server.closeAllConnections();
});
