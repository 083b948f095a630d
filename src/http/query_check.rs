//! Query check: rejects query parameters that an operation does not declare, and repeated ones.

use poem::Request;

use crate::http::problem::Problem;
use crate::http::route_spec::QueryPolicy;
use crate::http::router::Operation;
use crate::json::pointer::is_safe_to_echo;

pub fn check_query(request: &Request, operation: &Operation) -> Result<(), Problem> {
    match (operation.spec.query, request.uri().query()) {
        (QueryPolicy::Declared, Some(query)) => check_params(query, |name| operation.has_query_param(name)),
        (QueryPolicy::Any, _) | (_, None) => Ok(()),
    }
}

/// The problem of a query parameter that has none of its values. `accepted` lists them.
pub fn reject_value(name: &str, value: &str, accepted: &str) -> Problem {
    let given = if is_safe_to_echo(value) { format!(", not {value}") } else { String::new() };
    Problem::bad_request(format!("The query parameter {name} is {accepted}{given}."))
}

fn check_params(query: &str, is_declared: impl Fn(&str) -> bool) -> Result<(), Problem> {
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        if !is_declared(name) {
            let unknown = if is_safe_to_echo(name) { format!("parameter {name}") } else { "parameter".to_owned() };
            return Err(Problem::bad_request(format!("Unknown query {unknown}; omit it.")));
        }
        if seen.contains(&name) {
            return Err(Problem::bad_request(format!(
                "The query parameter {name} appears more than once; send it once."
            )));
        }
        seen.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str) -> Result<(), String> {
        check_params(query, |name| name == "limit").map_err(|problem| problem.to_string())
    }

    #[test]
    fn check_params_admits_declared_parameters_once() {
        assert!(check("limit=1").is_ok());
        assert!(check("&limit&").is_ok());
        assert!(check("limit=1&limit=2").unwrap_err().contains("limit appears more than once"));
        assert!(check("limits=1").unwrap_err().contains("Unknown query parameter limits"));
    }

    #[test]
    fn check_params_does_not_echo_a_name_that_could_be_a_credential() {
        let secret = format!("mk_{}", "a".repeat(49));
        assert!(!check(&format!("{secret}=1")).unwrap_err().contains(&secret));
    }
}
