//! Get: reads one key.

use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::KeyRecord;
use crate::domain::precondition::Precondition;
use crate::service::errors::ServiceError;
use crate::service::keys::{KeyService, or_not_found};

impl KeyService {
    /// Returns a key with its secrets, if it meets the precondition.
    pub async fn get(
        &self,
        access: AccessFilter<'_>,
        id: Uuid,
        precondition: &Precondition,
    ) -> Result<KeyRecord, ServiceError> {
        let record = or_not_found(self.store.find_key(access, id).await?)?;
        precondition.check(&record.key)?;
        Ok(record)
    }
}
