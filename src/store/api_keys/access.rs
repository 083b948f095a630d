//! Access: the query that every other query on keys starts from.

use entity::api_key::{Column, Entity};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Select};

use crate::domain::access::AccessFilter;

impl AccessFilter<'_> {
    pub(in crate::store) fn api_keys_query(self) -> Select<Entity> {
        let keys = Entity::find();
        match self {
            Self::Any => keys,
            Self::Owner(owner) => keys
                .filter(Column::OwnerIssuer.eq(&owner.issuer))
                .filter(Column::OwnerSubject.eq(&owner.subject))
                .filter(Column::DeletedAt.is_null()),
        }
    }
}
