//! Doctor: looks at a deployment as `serve` would find it, changes nothing, and says what is wrong in words.

mod disk;
mod network;

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use procfs::process::{LimitValue, Process};

use super::{Failure, ServeCommand};
use crate::config::{DataSettings, ServeSettings, SigningSettings};
use crate::domain::clock::Clock;
use crate::store::{Inspection, Standing, Store};

/// What is good, or what is wrong and how to mend it.
type Opinion = Result<String, String>;

pub async fn run(command: ServeCommand) -> Result<(), Failure> {
    let ServeCommand { data, signing, serve, .. } = &command;
    let database = data.read_database_url().map_err(|error| error.to_string());
    let inspection = match &database {
        Ok(url) => inspect(url).await,
        Err(error) => Err(error.clone()),
    };
    let file = database.ok().as_deref().and_then(Store::file);
    let opinions = [
        ("data directory", disk::directory(&data.data_dir)),
        ("files", disk::files(data, signing)),
        ("disk", disk::room(&data.data_dir, file.as_deref())),
        ("database", schema(&inspection)),
        ("master secret", master_secret(data, &inspection)),
        ("signing key", signing_key(data, signing)),
        ("listen", network::listen(serve)),
        ("file descriptors", descriptors(serve)),
        ("clock", clock(Clock::System.now(), file.as_deref())),
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

async fn inspect(url: &str) -> Result<Option<Inspection>, String> {
    Store::inspect(url).await.map_err(|error| {
        format!(
            "it cannot be read: {error}; check that the file is mintkey's, that this user may read it, and the disk; or that \
             PostgreSQL runs, and that the URL names it"
        )
    })
}

fn schema(inspection: &Result<Option<Inspection>, String>) -> Opinion {
    let Some(Inspection { schema, .. }) = inspection.as_ref().map_err(Clone::clone)? else {
        return Ok("there is none yet; `mintkey serve` makes it".into());
    };
    match schema {
        Standing::Ahead { level, oldest_binary } => Err(format!(
            "a newer mintkey has changed it: its schema is at level {level}, which takes a binary of level {oldest_binary} or \
             later; run that one, or restore a backup from before"
        )),
        Standing::Behind(missing) => Err(format!(
            "{missing} changes of its schema are not done; run `mintkey migrate`, or start `mintkey serve`, which does them"
        )),
        Standing::Fits => Ok("it is readable and up to date".into()),
    }
}

fn master_secret(data: &DataSettings, inspection: &Result<Option<Inspection>, String>) -> Opinion {
    let made_with: &[String] = match inspection {
        Ok(Some(inspection)) => &inspection.peppers,
        _ => &[],
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

/// What a process needs beside its connections: the database, its log, the listeners.
const OTHER_DESCRIPTORS: u64 = 64;

fn descriptors(serve: &ServeSettings) -> Opinion {
    let limits = Process::myself().and_then(|process| process.limits());
    let limits = limits.map_err(|error| format!("the limit cannot be read: {error}; is /proc there?"))?;
    let needed = u64::from(serve.max_connections) + OTHER_DESCRIPTORS;
    match limits.max_open_files.soft_limit {
        LimitValue::Value(limit) if limit < needed => Err(format!(
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
        Ok("it is after the last change of the database".into())
    }
}
