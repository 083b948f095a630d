//! Verifies an API key, the first argument. Needs `reqwest` with `json`, `serde_json`, and `tokio` with `macros` and `rt`.

use std::{env, error::Error, time::Duration};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("MINTKEY_URL")? + "/api/auth/api-keys/verify";
    let credential = env::var("GATEWAY_KEY")?;
    let body = serde_json::json!({ "key": env::args().nth(1), "scopes": ["projects:read"] });
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
    let response = client.post(url).bearer_auth(credential).json(&body).send().await?;
    // Any error denies access.
    let result: serde_json::Value = response.error_for_status()?.json().await?;
    println!("{}", result["code"].as_str().unwrap_or_default());
    Ok(())
}
