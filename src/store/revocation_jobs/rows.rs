//! Rows: conversions between rows and jobs.

use entity::revocation_job::{ActiveModel, Model};
use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::DbErr;

use crate::domain::audit::{Actor, AuditOrigin, RequestSource};
use crate::domain::revocation_job::{JobStatus, RevocationFilter, RevocationJob};

pub fn new_row(job: &RevocationJob) -> ActiveModel {
    let AuditOrigin { actor, source } = &job.origin;
    ActiveModel {
        id: Set(job.id),
        reach_issuer: Set(job.reach_issuer.clone()),
        reach_organization: Set(job.reach_organization.clone()),
        owner_issuer: Set(job.filter.issuer.clone()),
        owner_subject: Set(job.filter.subject.clone()),
        owner_organization: Set(job.filter.organization.clone()),
        created_by_key: Set(job.filter.created_by_key),
        created_before: Set(job.filter.created_before),
        reason: Set(job.reason.clone()),
        descendants: Set(job.descendants),
        actor_kind: Set(actor.kind.clone()),
        actor_issuer: Set(actor.issuer.clone()),
        actor_subject: Set(actor.subject.clone()),
        actor_organization: Set(job.actor_organization.clone().unwrap_or_default()),
        actor_key_id: Set(actor.key_id),
        request_id: Set(source.request_id.clone()),
        client_address: Set(source.client_address.map(|address| address.to_string())),
        user_agent: Set(source.user_agent.clone()),
        created_at: Set(job.created_at),
        ..progress_row(job)
    }
}

/// The columns that change while the job runs.
pub fn progress_row(job: &RevocationJob) -> ActiveModel {
    ActiveModel {
        id: Unchanged(job.id),
        status: Set(job.status.as_str().to_owned()),
        unexamined_below: Set(job.unexamined_below),
        examined: Set(job.examined.cast_signed()),
        revoked: Set(job.revoked.cast_signed()),
        revoked_descendants: Set(job.revoked_descendants.cast_signed()),
        updated_at: Set(job.updated_at),
        completed_at: Set(job.completed_at),
        ..ActiveModel::default()
    }
}

pub fn job(row: Model) -> Result<RevocationJob, DbErr> {
    let invalid = |what: &str| DbErr::Custom(format!("revocation job {} has an invalid {what}", row.id));
    let status = JobStatus::parse(&row.status).ok_or_else(|| invalid("status"))?;
    let client_address = row.client_address.as_deref().map(str::parse).transpose();
    let client_address = client_address.map_err(|_| invalid("client address"))?;
    Ok(RevocationJob {
        id: row.id,
        status,
        reach_issuer: row.reach_issuer,
        reach_organization: row.reach_organization,
        filter: RevocationFilter {
            issuer: row.owner_issuer,
            subject: row.owner_subject,
            organization: row.owner_organization,
            created_by_key: row.created_by_key,
            created_before: row.created_before,
        },
        reason: row.reason,
        descendants: row.descendants,
        origin: AuditOrigin {
            actor: Actor {
                kind: row.actor_kind,
                issuer: row.actor_issuer,
                subject: row.actor_subject,
                key_id: row.actor_key_id,
            },
            source: RequestSource { request_id: row.request_id, client_address, user_agent: row.user_agent },
        },
        actor_organization: Some(row.actor_organization).filter(|name| !name.is_empty()),
        unexamined_below: row.unexamined_below,
        examined: row.examined.cast_unsigned(),
        revoked: row.revoked.cast_unsigned(),
        revoked_descendants: row.revoked_descendants.cast_unsigned(),
        created_at: row.created_at,
        updated_at: row.updated_at,
        completed_at: row.completed_at,
    })
}
