//! Access: the condition of every query on keys.

use entity::api_key::{Column, Entity};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, Select};

use crate::domain::access::AccessFilter;
use crate::store::owner::OwnerColumns;

pub const KEY_OWNER: OwnerColumns<Column> =
    OwnerColumns(Column::OwnerIssuer, Column::OwnerSubject, Column::OwnerOrganization);

impl AccessFilter<'_> {
    pub(in crate::store) fn api_keys_query(self) -> Select<Entity> {
        Entity::find().filter(self.api_keys_condition())
    }

    pub(in crate::store) fn api_keys_condition(self) -> Condition {
        let admitted = KEY_OWNER.admitted_by(self);
        match self {
            Self::Any | Self::Issuer(_) | Self::Organization { .. } => admitted,
            Self::Owner(_) => admitted.add(Column::DeletedAt.is_null()),
        }
    }
}
