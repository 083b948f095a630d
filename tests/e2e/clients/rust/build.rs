//! Generates the client from the document.

use std::path::Path;
use std::{env, fs};

use progenitor::{GenerationSettings, Generator, InterfaceStyle};

fn main() {
    let document = "../../../../openapi.yaml";
    println!("cargo:rerun-if-changed={document}");
    let document = serde_norway::from_str(&fs::read_to_string(document).unwrap()).unwrap();
    let mut generator = Generator::new(GenerationSettings::new().with_interface(InterfaceStyle::Builder));
    let code = syn::parse2(generator.generate_tokens(&document).unwrap()).unwrap();
    let directory = env::var_os("OUT_DIR").unwrap();
    fs::write(Path::new(&directory).join("mintkey.rs"), prettyplease::unparse(&code)).unwrap();
}
