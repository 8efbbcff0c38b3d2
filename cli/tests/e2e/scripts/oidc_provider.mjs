// A real OpenID Connect provider with one public client. Its keys are drawn at each start. Who sits in front of the browser,
// and what the provider knows of them, is said over POST /control: {"person": "ann", "people": {"ann": {"email": …}}}.
// A person of null refuses.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const { default: Provider } = await import(pathToFileURL(process.env.OIDC_PROVIDER).href);
const issuer = `http://127.0.0.1:${process.env.PORT}`;
const known = { person: null, people: {} };

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), kid: randomBytes(8).toString('hex'), use: 'sig', alg: 'RS256' };

const provider = new Provider(issuer, {
  jwks: { keys: [key] },
  clients: [{
    client_id: 'mcpctl',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    redirect_uris: ['http://127.0.0.1/callback'],
    response_types: ['code'],
    grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
  }],
  scopes: ['openid', 'email', 'groups'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
  conformIdTokenClaims: false,
  features: { devInteractions: { enabled: false }, deviceFlow: { enabled: true } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  cookies: { keys: [randomBytes(16).toString('hex')] },
  findAccount: (_, id) => known.people[id] && {
    accountId: id,
    claims: async () => ({ sub: id, email_verified: true, ...known.people[id] }),
  },
});

async function consent({ prompt, params, grantId, session }) {
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope((prompt.details.missingOIDCScope ?? []).join(' '));
  grant.addOIDCClaims(prompt.details.missingOIDCClaims ?? []);
  return { consent: { grantId: await grant.save() } };
}

async function interact(request, response) {
  const details = await provider.interactionDetails(request, response);
  const refused = { error: 'access_denied', error_description: 'the person refused' };
  const login = () => (known.person ? { login: { accountId: known.person, remember: false } } : refused);
  const result = details.prompt.name === 'login' ? login() : await consent(details);
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

async function control(request, response) {
  let text = '';
  for await (const chunk of request) text += chunk;
  Object.assign(known, JSON.parse(text));
  response.writeHead(204).end();
}

const answer = provider.callback();
createServer((request, response) => {
  const own = request.url.startsWith('/interaction/') ? interact : request.url === '/control' ? control : null;
  if (!own) return answer(request, response);
  own(request, response).catch((error) => response.writeHead(500).end(String(error.stack)));
}).listen(Number(process.env.PORT), '127.0.0.1');
