//! The OpenAPI document.
//!
//! The doc comments of `api` and `http` are its only source. What poem-openapi cannot express is added once, by the
//! passes in [`build`], and holds for every form in which the document is served.

mod build;
mod examples;
pub mod login;
mod passes;
pub mod root;
pub mod swagger_ui;
mod yaml;

use serde_json::{Map, Value, json};

use crate::openapi::login::LoginOptions;

#[derive(Clone)]
pub struct Document(Value);

impl Document {
    pub fn new() -> Self {
        Self(build::build())
    }

    /// Adds the issuer's login to the ways to authenticate. Only the served document has it, because it depends on the
    /// deployment.
    pub fn with_login(&self, login: &LoginOptions) -> Self {
        let Self(mut document) = self.clone();
        let scopes: Map<_, _> = login.scopes.iter().map(|scope| (scope.clone(), json!(""))).collect();
        document["components"]["securitySchemes"]["login"] = json!({
            "type": "oauth2",
            "description": "Sign in with the issuer to get an access token.",
            "flows": {
                "authorizationCode": {
                    "authorizationUrl": login.authorization_url,
                    "tokenUrl": login.token_url,
                    "scopes": scopes,
                },
            },
        });
        for operation in passes::all_operations(&mut document) {
            if let Some(Value::Array(ways)) = operation.get_mut("security") {
                ways.push(json!({ "login": [] }));
            }
        }
        Self(document)
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("a JSON value can always be written") + "\n"
    }

    pub fn to_yaml(&self) -> String {
        yaml::to_yaml_text(&self.0)
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::new()
    }
}
