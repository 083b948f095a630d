//! RequestContext: the request id, the trace id, the client's address and the caller of a request.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use poem::Request;
use poem::http::HeaderName;
use tracing::{Span, error_span};

use crate::domain::audit::RequestSource;
use crate::domain::clock::Clock;
use crate::domain::id::new_id;
use crate::domain::owner::Owner;
use crate::http::client_address::ClientAddressRule;
use crate::http::headers::user_agent::user_agent;
use crate::http::trace_context::{TRACEPARENT, trace_id};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Created by the pipeline, completed by authentication, and read again for the access log.
#[derive(Clone, Default)]
pub struct RequestContext(Arc<Inner>);

#[derive(Default)]
struct Inner {
    request_id: String,
    trace_id: Option<String>,
    /// Absent if the client is connected otherwise than over TCP.
    client_address: Option<IpAddr>,
    /// Owner that the caller acts for, once authenticated.
    owner: OnceLock<Arc<Owner>>,
}

/// Shorter than any secret of this service and any JWT, so that a credential sent as request id is not logged.
const MAX_REQUEST_ID: usize = 48;

impl RequestContext {
    pub fn new(request: &Request, clock: &Clock, clients: &ClientAddressRule) -> Self {
        let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        let request_id = match header(REQUEST_ID) {
            Some(id) if is_request_id(id) => id.to_owned(),
            _ => new_id(clock.now()).to_string(),
        };
        let trace_id = header(TRACEPARENT).and_then(trace_id).map(str::to_owned);
        let client_address = clients.client_address(request);
        Self(Arc::new(Inner { request_id, trace_id, client_address, owner: OnceLock::new() }))
    }

    pub fn of(request: &Request) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }

    /// The address of the client, of a proxy's client if the proxy is trusted.
    pub fn client_address(&self) -> Option<IpAddr> {
        self.0.client_address
    }

    pub fn subject(&self) -> Option<&str> {
        self.0.owner.get().map(|owner| owner.subject.as_str())
    }

    /// The span of everything that is logged during the request.
    pub fn span(&self) -> Span {
        error_span!("request", request_id = self.request_id(), trace_id = self.trace_id())
    }

    pub fn set_owner(&self, owner: &Arc<Owner>) {
        let _already_noted = self.0.owner.set(owner.clone());
    }
}

fn is_request_id(id: &str) -> bool {
    (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Returns where a request came from, for its audit events.
pub fn request_source(request: &Request) -> RequestSource {
    let context = RequestContext::of(request);
    RequestSource {
        request_id: context.request_id().to_owned(),
        client_address: context.client_address(),
        user_agent: user_agent(request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_id_is_short_and_safe_to_log() {
        assert!(is_request_id("0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11"));
        let secret = format!("mk_{}", "a".repeat(49));
        for invalid in ["", "a b", "a\"b", "é", &"a".repeat(49), &secret] {
            assert!(!is_request_id(invalid), "{invalid}");
        }
    }
}
