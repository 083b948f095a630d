//! A real OpenID provider that tests can control: npm's oidc-provider, or one of `providers/`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use mintkey::domain::clock::Clock;
use serde_json::{Value, json};

use crate::support::{Server, client};
use crate::tools::{artifacts, script};

pub const AUDIENCE: &str = "https://mintkey.example.com/api";

/// A running provider. Drop ends it.
pub struct Provider {
    process: Child,
    /// Keeps the pipe open, because the provider may write more.
    _output: BufReader<ChildStdout>,
    pub issuer: String,
    control: String,
}

impl Provider {
    pub fn start() -> Self {
        Self::of(&mut script("provider.mjs"))
    }

    /// Starts with TLS, with the certificate and the key in this file.
    pub fn with_certificate(pem: &Path) -> Self {
        Self::of(script("provider.mjs").arg(pem))
    }

    /// Starts the provider that this command runs.
    pub fn of(command: &mut Command) -> Self {
        let log = File::options().create(true).append(true).open(artifacts().join("provider.log")).unwrap();
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("the provider did not start, see target/e2e/provider.log: {line}"));
        let of = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self { process, _output: output, issuer: of("issuer"), control: of("control") }
    }

    /// Starts a server that trusts the provider, with additional options of `--issuer`.
    pub fn server(&self, options: &str) -> Server {
        Server::start_with(&["--issuer", &self.line(options)])
    }

    pub fn line(&self, options: &str) -> String {
        format!("{},audience={AUDIENCE}{options}", self.issuer)
    }

    /// Requests an access token as a client. Clients are named after the algorithm of their tokens.
    pub async fn token(&self, name: &str) -> String {
        let request = client().post(format!("{}/token", self.issuer));
        let request =
            request.basic_auth(name, Some("secret")).header("content-type", "application/x-www-form-urlencoded");
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("grant_type", "client_credentials"),
                ("resource", AUDIENCE),
                ("scope", "projects:read api-keys:verify"),
            ])
            .finish();
        let response: Value = request.body(form).send().await.unwrap().json().await.unwrap();
        response["access_token"].as_str().unwrap_or_else(|| panic!("no token: {response}")).to_owned()
    }

    /// Calls one of the `actions` of the script.
    pub async fn act(&self, action: &str, what: Value) -> Value {
        let request = client().post(format!("{}/{action}", self.control)).body(what.to_string());
        request.send().await.unwrap().json().await.unwrap()
    }

    /// A token of these texts, signed by the provider. `$KID` stands for the id of the key.
    pub async fn sign_text(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let token = self.act("sign", json!({ "alg": algorithm, "header": header, "claims": claims })).await;
        token.as_str().unwrap().to_owned()
    }

    pub async fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(header["alg"].as_str().unwrap(), &header.to_string(), &claims.to_string()).await
    }

    /// The claims of a valid token of the provider, modified by `change`.
    pub fn claims(&self, change: impl FnOnce(&mut Value)) -> Value {
        let now = Clock::System.now().timestamp();
        let mut claims = json!({
            "iss": self.issuer, "aud": AUDIENCE, "sub": "alice", "client_id": "docs", "jti": "1",
            "iat": now, "exp": now + 600, "scope": "projects:read",
        });
        change(&mut claims);
        claims
    }

    /// The number of fetches of the JWKS.
    pub async fn fetches(&self) -> usize {
        let requests = self.act("requests", Value::Null).await;
        requests.as_array().unwrap().iter().filter(|path| *path == "/jwks").count()
    }
}

pub fn header() -> Value {
    json!({ "typ": "at+jwt", "alg": "RS256", "kid": "$KID" })
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
