// Hands the issuer's response to the page that opened this window, if it is the response to that page's request.
const { auth, state, redirectUrl, callback, errCb } = window.opener?.swaggerUIRedirectOauth2 ?? {};
const response = new URLSearchParams(location.search);
if (!auth) {
  document.body.append('Sign in from the page of the API: this window belongs to no sign-in.');
} else if (response.get('state') !== state) {
  errCb({ authId: auth.name, source: 'auth', level: 'error', message: 'This response belongs to another login; try again.' });
} else if (response.has('code')) {
  // The page's own object is changed, not copied: the page does not recognize an object of this window.
  auth.code = response.get('code');
  callback({ auth, redirectUrl });
} else {
  const message = response.get('error_description') ?? response.get('error') ?? 'The issuer returned no code.';
  errCb({ authId: auth.name, source: 'auth', level: 'error', message });
}
if (auth) window.close();
