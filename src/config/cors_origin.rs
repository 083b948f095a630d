//! Origins of web pages, as `--cors-origin` takes them: in the one spelling in which browsers send them.
//!
//! A page of an https server has the origin `https://host[:port]`. Extensions and the web views of desktop and mobile
//! applications have schemes of their own, such as `chrome-extension://` and `capacitor://`.

use url::{Origin, Url};

/// Schemes whose pages have no origin of their own, or that no page has.
const SCHEMES_WITHOUT_ORIGIN: [&str; 9] =
    ["about", "blob", "data", "file", "filesystem", "ftp", "javascript", "ws", "wss"];

/// Checks an origin. The error shows the spelling that a browser sends.
pub fn parse_cors_origin(text: &str) -> Result<String, String> {
    match text {
        "" => return Err("give an origin such as https://app.example.com, or leave the setting out".to_owned()),
        "null" => {
            return Err(
                "`null` is the origin of every file, sandboxed frame and data: URL, of any author; serve the page \
                        from a web server and give its origin"
                    .to_owned(),
            );
        }
        _ => {}
    }
    if text.contains('*') {
        return Err(
            "there is no wildcard, because any page that a user opens could then call this service through the \
                    user's browser, from inside the user's network; give each origin"
                .to_owned(),
        );
    }
    if text.contains(|c: char| c.is_whitespace() || c == ',') {
        return Err(
            "give one origin each time: repeat --cors-origin, or separate them in MINTKEY_CORS_ORIGIN with `;`"
                .to_owned(),
        );
    }
    let Some((scheme, _)) = text.split_once("://") else {
        let with_scheme = origin_of(&format!("https://{text}"));
        let example = with_scheme.unwrap_or_else(|| "https://app.example.com".to_owned());
        return Err(format!("give the scheme too: {example}"));
    };
    if SCHEMES_WITHOUT_ORIGIN.contains(&&*scheme.to_ascii_lowercase()) {
        return Err(format!(
            "no page has an origin with the scheme {scheme}; give that of its server, such as https://app.example.com"
        ));
    }
    match origin_of(text) {
        Some(origin) if origin == text => Ok(origin),
        Some(origin) => Err(format!("browsers send this origin as {origin}; give that")),
        None => Err("this is no origin; give scheme://host or scheme://host:port".to_owned()),
    }
}

/// Returns the origin of a URL as a browser writes it.
fn origin_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty())?;
    Some(match (url.origin(), url.port()) {
        (origin @ Origin::Tuple(..), _) => origin.ascii_serialization(),
        (Origin::Opaque(_), Some(port)) => format!("{}://{host}:{port}", url.scheme()),
        (Origin::Opaque(_), None) => format!("{}://{host}", url.scheme()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_cors_origin_takes_what_browsers_send() {
        for origin in [
            "https://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com.",
            "http://localhost:5173",
            "http://127.0.0.1:3000",
            "http://[::1]:5173",
            "https://[2001:db8::1]",
            "https://xn--bcher-kva.example",
            "https://a_b.example",
            // Of extensions and web views.
            "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb",
            "moz-extension://0a5d9c2e-7c8b-4b1a-9d3e-2f6f7c1b8f11",
            "safari-web-extension://E8BB5C3F-9C2B-4F6B-8F8B-0A5D9C2E7C8B",
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "https://tauri.localhost",
            "app://.",
            "app://obsidian.md",
            "vscode-webview://0a5d9c2e7c8b",
            "custom+scheme-1.0://host:8080",
        ] {
            assert_eq!(parse_cors_origin(origin).as_deref(), Ok(origin));
        }
    }

    #[test]
    fn parse_cors_origin_shows_the_right_spelling() {
        for (wrong, right) in [
            ("https://app.example.com/", "https://app.example.com"),
            ("https://app.example.com/login", "https://app.example.com"),
            ("https://app.example.com?", "https://app.example.com"),
            ("https://app.example.com#top", "https://app.example.com"),
            ("https://App.Example.com", "https://app.example.com"),
            ("HTTPS://app.example.com", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://app.example.com:80", "http://app.example.com"),
            ("https://app.example.com:", "https://app.example.com"),
            ("https://app.example.com:08443", "https://app.example.com:8443"),
            ("https://alice:secret@app.example.com", "https://app.example.com"),
            ("https:///app.example.com", "https://app.example.com"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("https://ex%61mple.com", "https://example.com"),
            ("http://127.1:3000", "http://127.0.0.1:3000"),
            ("http://[0:0::1]:5173", "http://[::1]:5173"),
            ("http://[2001:DB8::1]", "http://[2001:db8::1]"),
            ("app.example.com", "https://app.example.com"),
            ("app.example.com:8443/", "https://app.example.com:8443"),
            ("localhost:5173", "https://localhost:5173"),
            ("capacitor://localhost/", "capacitor://localhost"),
            ("Tauri://localhost", "tauri://localhost"),
        ] {
            let error = parse_cors_origin(wrong).unwrap_err();
            let shown = error.split([' ', ';']).any(|word| word == right);
            assert!(shown && !error.contains("secret"), "{wrong}: {error}");
        }
    }

    #[test]
    fn parse_cors_origin_says_why_there_is_no_right_spelling() {
        for (wrong, reason) in [
            ("", "leave the setting out"),
            ("*", "no wildcard"),
            ("https://*.example.com", "no wildcard"),
            ("https://*", "no wildcard"),
            ("null", "sandboxed frame"),
            ("https://a.example https://b.example", "repeat --cors-origin"),
            ("https://a.example,https://b.example", "separate them in MINTKEY_CORS_ORIGIN with `;`"),
            (" https://a.example", "repeat --cors-origin"),
            ("file:///home/alice/page.html", "scheme file"),
            ("wss://app.example.com", "scheme wss"),
            ("blob://https://app.example.com", "scheme blob"),
            ("https://", "scheme://host"),
            ("https://a b", "repeat --cors-origin"),
            ("https://app.example.com:70000", "scheme://host:port"),
            ("app:///", "scheme://host"),
            ("://host", "scheme://host"),
            ("https://[::1", "scheme://host"),
            ("https://exa<mple.com", "scheme://host"),
        ] {
            let error = parse_cors_origin(wrong).unwrap_err();
            assert!(error.contains(reason), "{wrong}: {error}");
        }
    }
}
