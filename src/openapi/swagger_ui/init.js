const ui = SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#ui',
  deepLinking: true,
  validatorUrl: null,
  oauth2RedirectUrl: `${location.origin}/docs/login-callback`,
});
