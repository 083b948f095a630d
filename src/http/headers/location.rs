//! `Location`.

use poem::Request;

/// Returns the `Location` of this path: a reference relative to the request's URL (RFC 9110, section 10.2.2), so that it
/// holds below any prefix that a proxy removes from paths.
pub fn location(request: &Request, path: &str) -> String {
    relative_reference(request.original_uri().path(), path)
}

/// Returns the reference that leads from one absolute path to another (RFC 3986, section 5.2).
fn relative_reference(from: &str, to: &str) -> String {
    let directories = |path: &str| path.rsplit_once('/').map_or(0, |(directories, _)| directories.len() + 1);
    let (from, (to, rest)) = (&from[..directories(from)], to.split_at(directories(to)));
    let equal = from.split_inclusive('/').zip(to.split_inclusive('/')).take_while(|(from, to)| from == to);
    let common: usize = equal.map(|(directory, _)| directory.len()).sum();
    let up = "../".repeat(from[common..].matches('/').count());
    format!("{up}{}{rest}", &to[common..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_reference_leads_from_one_path_to_another() {
        for (from, to, reference) in [
            ("/keys/", "/keys/5", "5"),
            ("/keys", "/keys/5", "keys/5"),
            ("/keys/5/rotate", "/keys/5", "../5"),
            ("/keys/5/rotate/", "/keys/5", "../../5"),
            ("/admin/keys/revoke", "/admin/jobs/7", "../jobs/7"),
            ("/admin/keys/revoke/", "/admin/jobs/7", "../../jobs/7"),
            ("/keyring/", "/keys/5", "../keys/5"),
            ("/", "/docs", "docs"),
        ] {
            assert_eq!(relative_reference(from, to), reference, "{from} {to}");
        }
    }
}
