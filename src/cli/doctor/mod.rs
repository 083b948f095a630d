//! Doctor: looks at a deployment as `serve` would find it, changes nothing, and says what is wrong in words.

mod database;
mod disk;
mod issuers;
mod network;
mod tls;

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use rustix::process::{Resource, getrlimit};

use crate::cli::{Failure, ServeCommand};
use crate::config::{DataSettings, ServeSettings, SigningSettings};
use crate::domain::clock::Clock;
use crate::server::OTHER_DESCRIPTORS;
use crate::store::{DatabaseReport, Store};

/// What is good, or what is wrong and how to mend it.
type Opinion = Result<String, String>;

pub async fn run(command: ServeCommand) -> Result<(), Failure> {
    let ServeCommand { data, signing, issuers, serve, .. } = &command;
    let database = data.read_database_url().map_err(|error| error.to_string());
    let report = database::inspect(&database).await;
    let file = database.ok().as_deref().and_then(Store::file);
    let now = Clock::System.now();
    let opinions = [
        ("data directory", disk::directory(&data.data_dir)),
        ("files", disk::files(data, signing, serve)),
        ("disk", disk::room(&data.data_dir, file.as_deref())),
        ("database", database::schema(&report)),
        ("database connections", database::connections(data, &report)),
        ("master secret", master_secret(data, &report)),
        ("signing key", signing_key(data, signing)),
        ("issuers", issuers::issuers(issuers, serve).await),
        ("listen", network::listen(serve).await),
        ("tls", tls::certificate(serve, now).await),
        ("file descriptors", descriptors(serve)),
        ("clock", clock(now, file.as_deref())),
        ("traces", network::collector()),
    ];
    let mut wrong = 0;
    for (subject, opinion) in opinions {
        match opinion {
            Ok(good) => println!("ok     {subject}: {good}"),
            Err(bad) => {
                wrong += 1;
                println!("WRONG  {subject}: {bad}");
            }
        }
    }
    match wrong {
        0 => Ok(()),
        1 => Err("one thing is wrong with this deployment".into()),
        _ => Err(format!("{wrong} things are wrong with this deployment").into()),
    }
}

fn master_secret(data: &DataSettings, report: &Result<DatabaseReport, String>) -> Opinion {
    let made_with: &[String] = match report {
        Ok(report) => &report.peppers,
        Err(_) => &[],
    };
    let given = data.master_secret.is_some() || data.master_secret_file.is_some();
    if !given && !data.data_dir.join("master.secret").exists() {
        return match made_with {
            [] => Ok("there is none yet; `mintkey serve` makes it".into()),
            _ => Err(format!(
                "{} is missing, and the keys in the database were made with it: restore the file, or none of them is \
                 known any more",
                data.data_dir.join("master.secret").display()
            )),
        };
    }
    let peppers = data.peppers().map_err(|error| error.to_string())?;
    if made_with.is_empty() || peppers.all().iter().any(|pepper| made_with.iter().any(|known| known == pepper.id())) {
        Ok("it can be read and fits the database".into())
    } else {
        Err("it is not the one that the keys in the database were made with; restore that one, from a backup of \
             master.secret, or as another line of the secret that is given"
            .into())
    }
}

fn signing_key(data: &DataSettings, signing: &SigningSettings) -> Opinion {
    let given = signing.signing_key.is_some() || signing.signing_key_file.is_some();
    if !given && !data.data_dir.join("signing.key").exists() {
        return Ok("there is none yet; `mintkey serve` makes it".into());
    }
    data.signing_key(signing).map(|_| "it can be read and is an Ed25519 key".into()).map_err(|error| error.to_string())
}

fn descriptors(serve: &ServeSettings) -> Opinion {
    // The soft limit is raised to this one.
    let limit = getrlimit(Resource::Nofile).maximum;
    let needed = u64::from(serve.max_connections) + OTHER_DESCRIPTORS;
    match limit {
        Some(limit) if limit < needed => Err(format!(
            "{limit} may be open at a time where this was run, and {needed} are needed; raise the limit (LimitNOFILE= in \
             a systemd unit, `ulimit -n` in a shell), or lower --max-connections (MINTKEY_MAX_CONNECTIONS) to {}",
            limit.saturating_sub(OTHER_DESCRIPTORS)
        )),
        _ => Ok(format!("enough for {} connections", serve.max_connections)),
    }
}

/// Before this program was written, no clock was right.
const WRITTEN: &str = "2026-11-01T00:00:00Z";

fn clock(now: DateTime<Utc>, database: Option<&Path>) -> Opinion {
    let wrong = |why: &str| {
        Err(format!(
            "it says {}, {why}; keys and tokens would live too long or not at all: synchronise the clock (NTP)",
            now.format("%F %T UTC")
        ))
    };
    let changed = database.and_then(|file| file.metadata().ok()?.modified().ok()).map(DateTime::<Utc>::from);
    if WRITTEN.parse::<DateTime<Utc>>().is_ok_and(|written| now < written) {
        wrong("which is before this program was written")
    } else if changed.is_some_and(|changed| now + TimeDelta::minutes(5) < changed) {
        wrong("and the database was last changed later than that")
    } else {
        Ok(format!("it says {}", now.format("%F %T UTC")))
    }
}
