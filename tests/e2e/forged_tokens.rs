//! Forged tokens: each has one fault, and most are signed by the provider itself.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::forgery::{Forgeries, Trap, encode, head, hs, parts, text, unused_bits};
use crate::provider::{AUDIENCE, Provider, header};
use crate::support::Server;

async fn setup() -> (Provider, Server, String) {
    let provider = Provider::start();
    let server = provider.server(",scopes=realm_access.roles");
    let valid = provider.sign(&header(), &provider.claims(|_| ())).await;
    assert_eq!(server.create(&valid, json!({ "name": "x" })).await.status, 201, "{}", server.log());
    (provider, server, valid)
}

#[tokio::test]
async fn token_signed_by_other_algorithm_or_key_is_rejected() {
    let (provider, server, valid) = setup().await;
    let trap = Trap::start();
    let mut forged = Forgeries::against(&provider);
    let claims = provider.claims(|_| ());
    let [_, payload, signature] = parts(&valid);
    let kid = head(&valid)["kid"].clone();

    for none in ["none", "None", "NONE", "nOnE", ""] {
        let header = encode(&json!({ "typ": "at+jwt", "alg": none, "kid": kid }));
        forged.add(format!("alg {none:?}, not signed"), format!("{header}.{payload}."));
        forged.add(format!("alg {none:?}, another's signature"), format!("{header}.{payload}.{signature}"));
    }
    for (name, key) in provider.act("forms", json!({ "alg": "RS256" })).await.as_object().unwrap() {
        let key = STANDARD.decode(key.as_str().unwrap()).unwrap();
        for (alg, algorithm) in
            [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
        {
            let token = hs(&json!({ "typ": "at+jwt", "alg": alg, "kid": kid }), &claims, algorithm, &key);
            forged.add(format!("{alg} with {name} for a secret"), token);
        }
    }
    let empty = hs(&json!({ "typ": "at+jwt", "alg": "HS256" }), &claims, hmac::HMAC_SHA256, b"");
    forged.add("HS256 with no secret", empty);

    for (alg, by) in [("PS256", "RS256"), ("RS256", "PS256")] {
        let header = json!({ "typ": "at+jwt", "alg": alg, "kid": "$KID" });
        let what = json!({ "alg": alg, "by": by, "header": header.to_string(), "claims": claims.to_string() });
        forged.add(format!("{alg} by a key for {by}"), text(&provider.act("sign", what).await));
    }
    for (alg, of) in [("ES256", "RS256"), ("EdDSA", "RS256"), ("RS256", "ES256"), ("RS256", "EdDSA")] {
        let header = json!({ "typ": "at+jwt", "alg": alg, "kid": format!("{of}-1") });
        forged.add(format!("{alg} under the name of a key for {of}"), provider.sign(&header, &claims).await);
    }
    for alg in ["RS256", "ES256", "PS256", "EdDSA"] {
        let header = json!({ "typ": "at+jwt", "alg": alg, "kid": "$KID" });
        let what = json!({ "alg": alg, "foreign": true, "header": header.to_string(), "claims": claims.to_string() });
        forged.add(format!("{alg} by a stranger's key of the same name"), text(&provider.act("sign", what).await));
    }
    let stranger = provider.act("foreign", json!({ "alg": "RS256" })).await;
    for (what, member, value) in [
        ("the stranger's key in the token", "jwk", stranger.clone()),
        ("the address of the stranger's keys", "jku", json!(trap.url)),
        ("the address of the stranger's certificate", "x5u", json!(trap.url)),
        ("the stranger's certificate", "x5c", json!(["MIIB"])),
        ("the address of the stranger's keys, as the issuer's", "iss", json!(trap.url)),
    ] {
        for kid in [Some(&kid), None] {
            let mut header = json!({ "typ": "at+jwt", "alg": "RS256", member: value });
            kid.into_iter().for_each(|kid| header["kid"] = kid.clone());
            let what_of =
                json!({ "alg": "RS256", "foreign": true, "header": header.to_string(), "claims": claims.to_string() });
            let named = if kid.is_some() { "with" } else { "without" };
            forged.add(format!("{what}, {named} a kid"), text(&provider.act("sign", what_of).await));
        }
    }
    for alg in [
        json!("rs256"),
        json!("RS256 "),
        json!("RS256\u{0}"),
        json!("ＲＳ256"),
        json!(["RS256"]),
        json!(1),
        json!(null),
    ] {
        forged.header(&format!("alg: {alg}"), |header| header["alg"] = alg.clone()).await;
    }
    let zero = encode(&json!({ "typ": "at+jwt", "alg": "ES256", "kid": "ES256-1" }));
    forged.add("ES256 with a signature of zeros", format!("{zero}.{payload}.{}", URL_SAFE_NO_PAD.encode([0; 64])));

    assert!(forged.count() >= 60, "{}", forged.count());
    forged.assert_rejected(&server).await;
    assert_eq!(provider.fetches().await, 1, "the one at the start");
    assert_eq!(trap.connections(), 0);
    assert_eq!(server.create(&valid, json!({ "name": "x" })).await.status, 201);
}

#[tokio::test]
async fn token_with_wrong_claims_is_rejected_though_signed() {
    let (provider, server, _) = setup().await;
    let mut forged = Forgeries::against(&provider);
    let now = provider.claims(|_| ())["iat"].as_i64().unwrap();
    let issuer = provider.issuer.as_str();

    for iss in [
        json!(format!("{issuer}/")),
        json!(issuer.to_uppercase()),
        json!(issuer.replace("127.0.0.1", "localhost")),
        json!(format!("{issuer} ")),
        json!(format!("{issuer}\u{0}")),
        json!(format!("{issuer}\u{200b}")),
        json!([issuer]),
        json!(null),
        json!("urn:mintkey:standalone"),
    ] {
        forged.claim("iss", iss).await;
    }
    for aud in [
        json!("billing"),
        json!("docs"),
        json!(AUDIENCE.to_uppercase()),
        json!(format!("{AUDIENCE}/")),
        json!(format!("x{AUDIENCE}")),
        json!([]),
        json!(["billing"]),
        json!([AUDIENCE, 1]),
        json!([[AUDIENCE]]),
        json!({ AUDIENCE: true }),
        json!(1),
        json!(null),
    ] {
        forged.claim("aud", aud).await;
    }
    for exp in [
        json!((now + 600).to_string()),
        json!(null),
        json!(true),
        json!([now + 600]),
        json!({}),
        json!(-1),
        json!(0),
        json!(now - 31),
        json!(1e300),
        json!(u64::MAX),
    ] {
        forged.claim("exp", exp).await;
    }
    for (name, value) in [
        ("nbf", json!(now + 90)),
        ("nbf", json!("0")),
        ("nbf", json!(null)),
        ("iat", json!(now.to_string())),
        ("sub", json!("")),
        ("sub", json!(5)),
        ("sub", json!("x".repeat(256))),
        ("sub", json!("alice\u{0}")),
        ("sub", json!(null)),
        ("realm_access", json!({ "roles": [1] })),
        ("realm_access", json!({ "roles": { "api-keys:admin": true } })),
        ("cnf", json!({ "jkt": "x" })),
    ] {
        forged.claim(name, value).await;
    }
    for name in ["iss", "aud", "exp", "sub"] {
        forged.claims(&format!("no {name}"), |claims| drop(claims.as_object_mut().unwrap().remove(name))).await;
    }
    let twice = |name: &str, value: &str| format!(r#""{name}":{value},"sub":"#);
    for (name, value) in
        [("sub", "\"bob\""), ("iss", "\"x\""), ("aud", "\"x\""), ("exp", "1"), ("\\u0073ub", "\"bob\"")]
    {
        forged.text(&format!("{name} twice"), r#""sub":"#, &twice(name, value)).await;
    }
    for (what, to) in [
        ("a member twice, further down", r#""realm_access":{"roles":[],"roles":["api-keys:admin"]},"sub":"#),
        ("a number without end", r#""x":1e999,"sub":"#),
        ("a number that is none", r#""x":NaN,"sub":"#),
        ("half a surrogate pair", r#""x":"\ud800","sub":"#),
        ("an s that is not s", r#""ſub":"#),
    ] {
        forged.text(what, r#""sub":"#, to).await;
    }
    let nested = format!(r#""x":{}{},"sub":"#, "[".repeat(200), "]".repeat(200));
    forged.text("200 arrays in each other", r#""sub":"#, &nested).await;
    forged.assert_rejected(&server).await;
    assert_eq!(provider.fetches().await, 1, "the one at the start");
}

#[tokio::test]
async fn token_of_other_kind_is_rejected_though_signed() {
    let (provider, server, valid) = setup().await;
    let mut forged = Forgeries::against(&provider);
    for typ in [
        json!("JWT"),
        json!("id+jwt"),
        json!("logout+jwt"),
        json!("at+jwt "),
        json!("at+jwt;v=1"),
        json!("аt+jwt"),
        json!(["at+jwt"]),
        json!(null),
        json!(""),
    ] {
        forged.header(&format!("typ: {typ}"), |header| header["typ"] = typ.clone()).await;
    }
    forged.header("no typ", |header| drop(header.as_object_mut().unwrap().remove("typ"))).await;
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("x"), json!(null)] {
        forged.header(&format!("crit: {crit}"), |header| header["crit"] = crit.clone()).await;
    }
    forged.header("an unencoded payload", |header| header["b64"] = json!(false)).await;
    for kid in [json!(1), json!(["RS256-1"]), json!(null), json!({})] {
        forged.header(&format!("kid: {kid}"), |header| header["kid"] = kid.clone()).await;
    }
    let claims = provider.claims(|_| ()).to_string();
    let written = header().to_string();
    for (what, header, claims) in [
        ("alg twice", written.replacen('{', r#"{"alg":"none","#, 1), claims.clone()),
        ("kid twice", written.replacen('{', r#"{"kid":"x","#, 1), claims.clone()),
        ("a header with more behind it", format!("{written}{{}}"), claims.clone()),
        ("a header behind a byte order mark", format!("\u{feff}{written}"), claims.clone()),
        ("a header that is a list", format!("[{written}]"), claims.clone()),
        ("claims that are a list", written.clone(), format!("[{claims}]")),
        ("no claims", written.clone(), String::new()),
        ("a token in a token", written.replacen('{', r#"{"cty":"JWT","#, 1), valid.clone()),
    ] {
        forged.add(what, provider.sign_text("RS256", &header, &claims).await);
    }

    let [head, payload, signature] = parts(&valid);
    let other = provider.sign(&header(), &provider.claims(|claims| claims["sub"] = json!("bob"))).await;
    let [_, others, _] = parts(&other);
    for (what, token) in [
        ("another's claims", format!("{head}.{others}.{signature}")),
        ("no signature", format!("{head}.{payload}.")),
        ("two parts", format!("{head}.{payload}")),
        ("four parts", format!("{valid}.{signature}")),
        ("five parts", format!("{valid}.{signature}.{signature}")),
        ("a dot before", format!(".{valid}")),
        ("a dot after", format!("{valid}.")),
        ("half the signature", valid[..valid.len() - signature.len() / 2].to_owned()),
        ("a signature without its last character", valid[..valid.len() - 1].to_owned()),
        ("half the token", valid[..valid.len() / 2].to_owned()),
        ("padding", format!("{valid}==")),
        ("a space within", format!("{head}. {payload}.{signature}")),
        ("percent signs", valid.replace('.', "%2E")),
        ("17 KiB", format!("{valid}{}", "A".repeat(17 * 1024))),
        ("unused bits of the last character", unused_bits(&valid)),
    ] {
        forged.add(what, token);
    }
    forged.assert_rejected(&server).await;
    assert_eq!(provider.fetches().await, 1, "the one at the start");
}

/// With `typ=compatible`, where `typ` does not distinguish tokens, claims of ID, refresh and logout tokens are rejected.
#[tokio::test]
async fn token_without_typ_is_checked_by_its_claims() {
    let provider = Provider::start();
    let server = provider.server(",typ=compatible");
    let with_typ = |typ: Value| {
        let mut header = header();
        header["typ"] = typ;
        header
    };
    let mut untyped = header();
    untyped.as_object_mut().unwrap().remove("typ");
    for header in [header(), with_typ(json!("JWT")), with_typ(json!("jwt")), untyped] {
        for change in [(|_| ()) as fn(&mut Value), |c| c["typ"] = json!("Bearer"), |c| c["token_use"] = json!("access")]
        {
            let token = provider.sign(&header, &provider.claims(change)).await;
            assert_eq!(server.create(&token, json!({ "name": "x" })).await.status, 201, "{header}");
        }
    }
    let mut forged = Forgeries::against(&provider);
    let header = with_typ(json!("JWT"));
    for (name, value) in [
        ("nonce", json!("n")),
        ("at_hash", json!("h")),
        ("c_hash", json!("h")),
        ("events", json!({ "http://schemas.openid.net/event/backchannel-logout": {} })),
        ("token_use", json!("id")),
        ("typ", json!("ID")),
        ("typ", json!("Refresh")),
        ("aud", json!("docs")),
    ] {
        let token = provider.sign(&header, &provider.claims(|claims| claims[name] = value.clone())).await;
        forged.add(format!("{name}: {value}"), token);
    }
    for typ in ["id+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt"] {
        let token = provider.sign(&with_typ(json!(typ)), &provider.claims(|_| ())).await;
        forged.add(format!("typ: {typ}"), token);
    }
    forged.assert_rejected(&server).await;
}

/// A `kid` is only ever compared.
#[tokio::test]
async fn token_kid_is_never_used_as_path_query_or_url() {
    let (provider, server, _) = setup().await;
    let trap = Trap::start();
    let mut forged = Forgeries::against(&provider);
    for kid in [
        "../../../../dev/null",
        "/dev/null",
        "' UNION SELECT 'x' --",
        "| cat /etc/passwd",
        &trap.url,
        "",
        "rs256-1",
        "RS256-1\u{0}",
        "RS256-1 ",
        "Ｒ",
        "RS256-\u{200b}1",
        "*",
        &"x".repeat(4096),
    ] {
        forged.header(&format!("kid: {kid}"), |header| header["kid"] = json!(kid)).await;
        let header = json!({ "typ": "at+jwt", "alg": "HS256", "kid": kid });
        forged.add(format!("HS256, kid: {kid}"), hs(&header, &provider.claims(|_| ()), hmac::HMAC_SHA256, b""));
    }
    forged.assert_rejected_or_undecided(&server).await;
    assert_eq!(provider.fetches().await, 2, "one at the start, one for all of these");
    assert_eq!(trap.connections(), 0);
}
