//! Operations on the keys of all owners.

pub mod audit;
pub mod bulk_revoke;
pub mod keys;
pub mod revocation_jobs;
