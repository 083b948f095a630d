//! The instructions of packaging/Dockerfile.

use std::fs;

use crate::tools::project;

/// `COPY` of paths from the build context, or from the build stage.
#[derive(Debug)]
pub struct Copy {
    pub from_build: bool,
    pub owner: Option<String>,
    pub sources: Vec<String>,
    pub target: String,
}

/// What follows a `FROM`.
#[derive(Debug, Default)]
pub struct Stage {
    pub base: String,
    pub copies: Vec<Copy>,
    pub environment: Vec<String>,
    pub volume: String,
    pub port: u64,
    pub user: String,
    pub command: Vec<String>,
}

/// The stages, the last of which is the image. Fails on an instruction that it does not know.
pub fn stages() -> Vec<Stage> {
    let text = fs::read_to_string(project().join("packaging/Dockerfile")).unwrap();
    let mut stages: Vec<Stage> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (instruction, rest) = line.split_once(' ').unwrap();
        if instruction == "FROM" {
            stages.push(Stage { base: rest.to_owned(), ..Stage::default() });
            continue;
        }
        let stage = stages.last_mut().unwrap();
        match instruction {
            "COPY" => stage.copies.push(copy(rest)),
            "ENV" => stage.environment.extend(rest.split(' ').map(str::to_owned)),
            "VOLUME" => stage.volume = rest.to_owned(),
            "EXPOSE" => stage.port = rest.parse().unwrap(),
            "USER" => stage.user = rest.to_owned(),
            // What a container executes: the one, then the other.
            "ENTRYPOINT" | "CMD" => stage.command.extend(serde_json::from_str::<Vec<String>>(rest).unwrap()),
            "WORKDIR" | "RUN" => assert!(stages.len() == 1, "the image cannot do this: {line}"),
            _ => panic!("unknown instruction: {line}"),
        }
    }
    stages
}

/// The last stage.
pub fn image() -> Stage {
    stages().pop().unwrap()
}

fn copy(text: &str) -> Copy {
    let (options, mut paths): (Vec<_>, Vec<_>) =
        text.split(' ').map(str::to_owned).partition(|word| word.starts_with("--"));
    let option = |name: &str| options.iter().find_map(|option| option.strip_prefix(name).map(str::to_owned));
    let target = paths.pop().unwrap();
    Copy { from_build: option("--from=").is_some(), owner: option("--chown="), sources: paths, target }
}
