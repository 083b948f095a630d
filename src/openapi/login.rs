//! Login: how a reader of the document signs in with the issuer.

/// The issuer's client for browsers, and where it signs users in.
pub struct LoginOptions {
    /// The origin of the token endpoint, for the content security policy.
    pub origin: String,
    pub authorization_url: String,
    pub token_url: String,
    pub client_id: String,
    /// The requested scopes.
    pub scopes: Vec<String>,
    /// Extra parameters of the authorization request.
    pub query: Vec<(String, String)>,
}
