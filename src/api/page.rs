//! Page: how a response leads to the next page of a list.

use poem::Request;
use uuid::Uuid;

use crate::http::headers::link::next_link;
use crate::http::params::cursor::Cursor;

/// The two ways to the next page: `next_cursor` in the body, and the `Link` header. Both are absent on the last page.
pub struct NextPage {
    pub cursor: Option<String>,
    pub link: Option<String>,
}

impl NextPage {
    /// `last` is the id of this page's last item, when more items follow it.
    pub fn new(request: &Request, last: Option<Uuid>) -> Self {
        let cursor = last.map(|id| Cursor(id).to_string());
        let link = cursor.as_deref().map(|cursor| next_link(request, cursor));
        Self { cursor, link }
    }
}
