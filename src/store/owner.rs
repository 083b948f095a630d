//! Owner columns: how an owner is stored, and how queries are restricted to the keys of one.
//!
//! An owner without an organization has the organization `''` in the database, so that one index on the three columns
//! serves every owner. Only this file knows that.

use sea_orm::{ColumnTrait, Condition};

use crate::domain::access::AccessFilter;
use crate::domain::owner::Owner;

/// The columns of an owner in a table or view: issuer, subject and organization.
pub struct OwnerColumns<C>(pub C, pub C, pub C);

impl<C: ColumnTrait> OwnerColumns<C> {
    /// The condition for a row to belong to an owner that `access` admits.
    pub fn admitted_by(&self, access: AccessFilter<'_>) -> Condition {
        let Self(issuer, subject, organization) = self;
        match access {
            AccessFilter::Any => Condition::all(),
            AccessFilter::Owner(owner) => Condition::all()
                .add(issuer.eq(&owner.issuer))
                .add(subject.eq(&owner.subject))
                .add(organization.eq(organization_column(owner))),
        }
    }
}

/// The stored form of an owner's organization.
pub fn organization_column(owner: &Owner) -> &str {
    owner.organization.as_deref().unwrap_or_default()
}

/// The owner that these columns store.
pub fn owner_from_columns(issuer: String, subject: String, organization: String) -> Owner {
    Owner { issuer, subject, organization: Some(organization).filter(|name| !name.is_empty()) }
}
