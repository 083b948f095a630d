//! Access: the query that every other query on keys starts from.

use entity::api_key::{Column, Entity};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Select};

use crate::domain::access::AccessFilter;
use crate::store::owner::OwnerColumns;

pub const KEY_OWNER: OwnerColumns<Column> =
    OwnerColumns(Column::OwnerIssuer, Column::OwnerSubject, Column::OwnerOrganization);

impl AccessFilter<'_> {
    pub(in crate::store) fn api_keys_query(self) -> Select<Entity> {
        let keys = Entity::find().filter(KEY_OWNER.admitted_by(self));
        match self {
            Self::Any | Self::Issuer(_) | Self::Organization { .. } => keys,
            Self::Owner(_) => keys.filter(Column::DeletedAt.is_null()),
        }
    }
}
