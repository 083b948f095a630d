//! Owner columns: how an owner is stored, and how queries are restricted to the keys of some owners.
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
            AccessFilter::Issuer(name) => Condition::all().add(issuer.eq(name)),
            AccessFilter::Organization { issuer: name, organization } => {
                Condition::all().add(issuer.eq(name)).add(self.in_organization(organization))
            }
            AccessFilter::Owner(owner) => Condition::all()
                .add(issuer.eq(&owner.issuer))
                .add(subject.eq(&owner.subject))
                .add(organization.eq(organization_column(owner))),
        }
    }

    /// The condition for the owner of a row to be in this organization, or in none if it is empty. It repeats the
    /// condition of the partial indexes, because a database does not infer it from a bound value.
    pub fn in_organization(&self, name: &str) -> Condition {
        let Self(_, _, organization) = self;
        let named = (!name.is_empty()).then(|| organization.ne(""));
        Condition::all().add(organization.eq(name)).add_option(named)
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
