use sea_orm::entity::prelude::*;

/// The response to a request with an `Idempotency-Key`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_records")]
pub struct Model {
    /// A keyed hash of caller, operation and `Idempotency-Key`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Vec<u8>,
    /// A hash of the request body.
    pub fingerprint: Vec<u8>,
    /// The response, encrypted with a key derived from the `Idempotency-Key`.
    pub sealed_response: Vec<u8>,
    pub expires_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
