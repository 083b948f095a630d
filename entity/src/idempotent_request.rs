use sea_orm::entity::prelude::*;

/// A request that was answered under an `Idempotency-Key`, and its answer, sealed.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotent_requests")]
pub struct Model {
    /// A keyed hash of caller, operation and `Idempotency-Key`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Vec<u8>,
    /// A hash of the body.
    pub fingerprint: Vec<u8>,
    /// The answer, sealed under a key that takes the `Idempotency-Key` to derive.
    pub answer: Vec<u8>,
    pub expires_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
