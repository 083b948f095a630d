//! Generates the client from the document.

use std::path::Path;
use std::{env, fs};

use progenitor::{GenerationSettings, Generator, InterfaceStyle};

fn main() {
    let document = "../../../../openapi.yaml";
    println!("cargo:rerun-if-changed={document}");
    let mut document: serde_norway::Value = serde_norway::from_str(&fs::read_to_string(document).unwrap()).unwrap();
    keep_one_media_type(&mut document);
    let document = serde_norway::from_value(document).unwrap();
    let mut generator = Generator::new(GenerationSettings::new().with_interface(InterfaceStyle::Builder));
    let code = syn::parse2(generator.generate_tokens(&document).unwrap()).unwrap();
    let directory = env::var_os("OUT_DIR").unwrap();
    fs::write(Path::new(&directory).join("mintkey.rs"), prettyplease::unparse(&code)).unwrap();
}

/// progenitor 0.15.1 refuses a request body of several media types. PATCH takes `application/json`, too.
fn keep_one_media_type(document: &mut serde_norway::Value) {
    for path in document["paths"].as_mapping_mut().unwrap().values_mut() {
        for operation in path.as_mapping_mut().unwrap().values_mut() {
            let body = operation.get_mut("requestBody").and_then(|body| body["content"].as_mapping_mut());
            body.and_then(|content| content.remove("application/merge-patch+json"));
        }
    }
}
