//! Documentation: every link inside the repository leads to a file and a heading that exist.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Method;

use mintkey::domain::secret::{SECRET_PATTERN, Secret};

use crate::support::Server;

#[test]
fn docs_internal_links_resolve() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = Vec::new();
    let mut links = 0;
    for page in pages(project) {
        let text = fs::read_to_string(&page).unwrap();
        let text = without_code(&text);
        for target in targets(&text).filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
            links += 1;
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let path = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let found = match anchor {
                None => path.exists(),
                Some(anchor) => fs::read_to_string(&path).is_ok_and(|text| anchors(&text).iter().any(|a| a == anchor)),
            };
            if !found {
                broken.push(format!("{}: {target}", page.strip_prefix(project).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    assert!(links > 100, "found {links} links only");
}

/// One regular expression finds keys, in the code, in the documentation and in the rules of every scanner.
#[test]
fn docs_and_scanner_rules_have_the_pattern_of_secrets() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(SECRET_PATTERN.contains(&format!("{{{}}}", Secret::DIGITS)));
    let rules = fs::read_dir(project.join("packaging/secret-scanning")).unwrap().map(|entry| entry.unwrap().path());
    let rules: Vec<_> = rules.filter(|path| path.is_file()).collect();
    assert_eq!(rules.len(), 5, "{rules:?}");
    for file in rules.into_iter().chain(["README.md", "docs/secret-scanning.md"].map(|page| project.join(page))) {
        let text = fs::read_to_string(&file).unwrap().replace(r"\\b", r"\b");
        assert!(text.contains(SECRET_PATTERN), "{} has another regular expression", file.display());
    }
}

#[test]
fn docs_index_lists_every_page() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let index = fs::read_to_string(docs.join("README.md")).unwrap();
    let listed: Vec<_> = targets(&index).map(|target| docs.join(target)).collect();
    for page in pages(&docs).into_iter().filter(|page| *page != docs.join("README.md")) {
        assert!(listed.contains(&page), "docs/README.md does not list {}", page.display());
    }
}

#[test]
fn docs_readme_is_short() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let lines = readme.lines().count();
    assert!(lines <= 200, "README.md has {lines} lines; move what is not for the first ten minutes to docs/");
}

/// All pages below a directory, without those of tools and builds.
fn pages(directory: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && !["target", "node_modules"].contains(&&*name) {
            pages.extend(self::pages(&path));
        } else if name.ends_with(".md") {
            pages.push(path);
        }
    }
    pages
}

/// The text without fenced blocks, which can contain what looks like a link or a heading.
fn without_code(text: &str) -> String {
    let mut fenced = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The targets of `[text](target)`, the text may be code.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0))
}

/// The anchors that GitHub makes of headings: lower case, without punctuation, spaces as dashes, repeated ones numbered.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let text = without_code(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let count = seen.entry(anchor.clone()).or_default();
            *count += 1;
            if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
        })
        .collect()
}

#[test]
fn docs_anchors_match_those_of_github() {
    let text =
        "# A key's life\n## 401 with a token\n## Twice\n```sh\n# no heading\n```\n## Twice\n## `--issuer` in full\n";
    assert_eq!(anchors(text), ["a-keys-life", "401-with-a-token", "twice", "twice-1", "--issuer-in-full"]);
}

/// In `docs/development`, so that a rename in the code is followed there.
#[test]
fn docs_paths_and_names_in_development_pages_exist() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for directory in ["src", "migration/src", "entity/src"] {
        read_rust(&project.join(directory), &mut code);
    }
    let words: HashSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut missing = Vec::new();
    for page in pages(&project.join("docs/development")) {
        let text = fs::read_to_string(&page).unwrap();
        for span in without_code(&text).split('`').skip(1).step_by(2) {
            let is_path = ["src/", "tests/", "docs/", "packaging/", "migration/", "entity/", "scripts/", "findings/"]
                .iter()
                .any(|folder| span.starts_with(folder));
            let is_name = span.starts_with(|c: char| c.is_ascii_uppercase())
                && span.chars().all(|c| c.is_alphanumeric() || [':', '_'].contains(&c));
            if is_path && !project.join(span).exists() || is_name && !span.split("::").all(|word| words.contains(word))
            {
                missing.push(format!("{}: {span}", page.file_name().unwrap().display()));
            }
        }
    }
    assert!(missing.is_empty(), "no longer in the code:\n{}", missing.join("\n"));
}

/// The names of tests on the page are spans in snake case with at least three underscores; no other span has so many.
#[test]
fn security_model_names_tests_that_exist() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    ["src", "tests"].iter().for_each(|folder| read_rust(&project.join(folder), &mut code));
    let page = fs::read_to_string(project.join("docs/security-model.md")).unwrap();
    let page = without_code(&page);
    let is_name = |span: &&str| {
        span.matches('_').count() >= 3 && span.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let names: HashSet<_> = page.split('`').skip(1).step_by(2).filter(is_name).collect();
    let missing: Vec<_> = names.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
    assert!(names.len() > 50, "found {} names only", names.len());
}

fn read_rust(directory: &Path, code: &mut String) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            read_rust(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[tokio::test]
async fn docs_explain_every_metric() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observability.md")).unwrap();
    let server = Server::start();
    let scrape = server.request(Method::GET, "/metrics", "").send().await.unwrap().text().await.unwrap();
    let names = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let ours: Vec<_> = names.filter(|name| name.starts_with("mintkey_")).collect();
    assert!(ours.len() > 15, "{ours:?}");
    for name in ours {
        assert!(page.contains(&format!("`{name}`")), "docs/observability.md does not explain {name}");
    }
}
