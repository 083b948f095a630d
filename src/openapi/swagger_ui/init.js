// Addresses are relative to this script's own, so that they hold below any prefix that a proxy removes from paths.
const own = document.currentScript.src;
const ui = SwaggerUIBundle({
  url: new URL('../openapi.json', own).href,
  dom_id: '#ui',
  deepLinking: true,
  validatorUrl: null,
  // The document has the address without the prefix.
  plugins: [() => ({ statePlugins: { spec: { wrapActions: {
    updateJsonSpec: (original) => (document) => original({ ...document, servers: [{ url: new URL('../api', own).href }] }),
  } } } })],
  oauth2RedirectUrl: new URL('login-callback', own).href,
  // With this header, which Swagger UI adds, the browser would send a preflight to the issuer's token endpoint, and not
  // every issuer responds to one.
  requestInterceptor: (request) => {
    delete request.headers['X-Requested-With'];
    return request;
  },
});
