//! Readiness: whether there is all that it takes to answer.

use std::time::Duration;

use crate::service::Service;
use crate::store::SchemaState;

/// One thing that it takes.
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    /// For whoever asks, who may be anybody.
    pub detail: String,
    /// For the log.
    pub cause: Option<String>,
}

impl Check {
    fn good(name: &'static str, detail: &str) -> Self {
        Self { name, ok: true, detail: detail.to_owned(), cause: None }
    }

    fn bad(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: false, detail: detail.into(), cause: None }
    }
}

/// Who asks wants to know soon, above all when the answer is no.
const PATIENCE: Duration = Duration::from_secs(2);

impl Service {
    pub async fn readiness(&self) -> Vec<Check> {
        let schema = tokio::time::timeout(PATIENCE, self.store.schema()).await;
        let (store, migrations) = match schema {
            Err(_) => (Check::bad("store", "does not answer within 2 seconds"), None),
            Ok(Err(error)) => {
                let bad = Check::bad("store", "cannot be asked; the log says why, under this request's id");
                (Check { cause: Some(error.to_string()), ..bad }, None)
            }
            Ok(Ok(schema)) => (Check::good("store", "answers"), Some(schema)),
        };
        let migrations = match migrations {
            None => Check::bad("migrations", "are not known while the store does not answer"),
            Some(SchemaState::Newer { .. }) => {
                Check::bad("migrations", "the database is newer than this program; run the newer one")
            }
            Some(SchemaState::Missing) => Check::bad("migrations", "there are no tables; run `mintkey migrate`"),
            Some(SchemaState::Outdated(pending)) => {
                Check::bad("migrations", format!("{pending} are not done; run `mintkey migrate`"))
            }
            Some(SchemaState::Current) => Check::good("migrations", "are done"),
        };
        vec![store, migrations, self.issuers_are_ready()]
    }

    fn issuers_are_ready(&self) -> Check {
        let unready = self.issuers_unready();
        if unready.is_empty() {
            return Check::good("issuers", "their keys are loaded");
        }
        let names: Vec<_> = unready.iter().map(|(issuer, _)| *issuer).collect();
        let causes: Vec<_> = unready.iter().map(|(issuer, why)| format!("{issuer}: {why}")).collect();
        let bad = Check::bad("issuers", format!("have given no keys yet: {}; the log says why", names.join(", ")));
        Check { cause: Some(causes.join("; ")), ..bad }
    }
}
