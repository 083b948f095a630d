//! Query check: rejects query parameters that an operation does not declare, and repeated ones.

use poem::Request;

use crate::http::problem::Problem;
use crate::http::router::Operation;
use crate::json::pointer::is_safe_to_echo;

pub fn check_query(request: &Request, operation: &Operation) -> Result<(), Problem> {
    let Some(query) = request.uri().query() else { return Ok(()) };
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        if !operation.takes(name) {
            let named = if is_safe_to_echo(name) {
                format!("parameter {name}")
            } else {
                "parameter that is not known".to_owned()
            };
            return Err(Problem::bad_request(format!(
                "The query has a {named}, which this operation does not take; leave it out."
            )));
        }
        if seen.contains(&name) {
            return Err(Problem::bad_request(format!(
                "The query has the parameter {name} more than once; send it once."
            )));
        }
        seen.push(name);
    }
    Ok(())
}
