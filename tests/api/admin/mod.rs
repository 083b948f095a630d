//! `/api/auth/admin`: keys of all owners.

mod keys;
