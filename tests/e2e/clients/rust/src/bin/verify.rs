#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, credential) = (std::env::var("MINTKEY_URL")?, std::env::var("GATEWAY_KEY")?);
    let question = serde_json::json!({ "key": std::env::args().nth(1), "scopes": ["projects:read"] });
    let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(5)).build()?;
    let request = client.post(url + "/api/auth/api-keys/verify").bearer_auth(credential).json(&question);
    let answer: serde_json::Value = request.send().await?.error_for_status()?.json().await?;
    println!("{}", answer["code"].as_str().unwrap_or_default());
    Ok(())
}
