//! Load: many connections that ask the same all the time, each waiting for its answer before it asks again; by wrk.

use std::io::Write;
use std::path::Path;

use tempfile::NamedTempFile;

use super::process::on_generators_core;
use super::run;

/// What is asked, and how a right answer looks.
#[derive(Clone)]
pub struct Load {
    pub url: String,
    pub method: &'static str,
    pub credential: String,
    pub content_type: &'static str,
    /// Path and body of each request, asked in turn.
    pub requests: Vec<(String, String)>,
    pub status: u16,
    /// What the answer's body or one of its headers (`name: value`) contains.
    pub contains: &'static str,
    pub connections: usize,
}

/// One round.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    pub requests: u64,
    pub rate: f64,
    /// Seconds.
    pub p50: f64,
    pub p99: f64,
    mean_length: f64,
}

impl Load {
    pub fn of(url: &str, method: &'static str, credential: &str, requests: Vec<(String, String)>) -> Self {
        let content_type = if method == "GET" { "" } else { "application/json" };
        let credential = credential.to_owned();
        let url = url.to_owned();
        Self { url, method, credential, content_type, requests, status: 200, contains: "", connections: 64 }
    }

    pub fn expects(self, status: u16, contains: &'static str) -> Self {
        Self { status, contains, ..self }
    }

    pub fn over(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// The pass before the rounds, in which every answer is looked at and every request is sent once at least. Looking
    /// takes the generator longer than asking, so that the rounds themselves only count what is no success, and weigh
    /// the answers against these.
    pub fn check(&self) -> Round {
        let looking = format!("STATUS = {}\nCONTAINS = [==[{}]==]\n", self.status, self.contains);
        let mut seconds = 1;
        loop {
            let round = self.wrk(seconds, &looking);
            if round.requests >= self.requests.len() as u64 {
                return round;
            }
            seconds *= 2;
        }
    }

    pub fn round(&self, seconds: u64, checked: &Round) -> Round {
        let round = self.wrk(seconds, "");
        let off = round.mean_length / checked.mean_length - 1.0;
        assert!(off.abs() < 0.02, "{}: answers are {:+.1} % longer than the right ones", self.url, off * 100.0);
        round
    }

    fn wrk(&self, seconds: u64, looking: &str) -> Round {
        let mut requests = NamedTempFile::new().unwrap();
        for (path, body) in &self.requests {
            writeln!(requests, "{path}\t{body}").unwrap();
        }
        requests.flush().unwrap();
        let mut script = NamedTempFile::with_suffix(".lua").unwrap();
        writeln!(
            script,
            "METHOD = '{}'\nHEADERS = {{}}\nREQUESTS = '{}'\n{looking}",
            self.method,
            requests.path().display()
        )
        .unwrap();
        if !self.credential.is_empty() {
            writeln!(script, "HEADERS['Authorization'] = 'Bearer {}'", self.credential).unwrap();
        }
        if !self.content_type.is_empty() {
            writeln!(script, "HEADERS['Content-Type'] = '{}'", self.content_type).unwrap();
        }
        script.write_all(include_bytes!("load.lua")).unwrap();
        script.flush().unwrap();

        let (connections, seconds) = (self.connections.to_string(), format!("{seconds}s"));
        let mut wrk = on_generators_core(Path::new("wrk"));
        wrk.args(["-t1", "-c", &connections, "-d", &seconds, "--timeout", "10s", "-s"])
            .arg(script.path())
            .arg(&self.url);
        let output = run(&mut wrk);
        assert!(output.status.success(), "{output:?}");
        self.read(&String::from_utf8(output.stdout).unwrap())
    }

    fn read(&self, output: &str) -> Round {
        let line = output.lines().find_map(|line| line.strip_prefix("RESULT "));
        let line = line.unwrap_or_else(|| panic!("wrk did not finish:\n{output}"));
        let mut words = line.splitn(8, ' ');
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let (requests, duration, bytes, lost) = (number(), number(), number(), number());
        let (p50, p99, wrong) = (number(), number(), number());
        let example = words.next().unwrap_or_default();
        let what = format!("{} {}{}", self.method, self.url, self.requests[0].0);
        assert_eq!(wrong, 0, "{what}: wrong answers of {requests}; one of them: {example}");
        assert_eq!(lost, 0, "{what}: errors in {requests} requests");
        assert!(requests > 0, "{what}: no answer at all");
        let per_second = |microseconds: u64| microseconds as f64 / 1e6;
        Round {
            requests,
            rate: requests as f64 / per_second(duration),
            p50: per_second(p50),
            p99: per_second(p99),
            mean_length: bytes as f64 / requests as f64,
        }
    }
}

/// What was measured of one load, round by round.
#[derive(Debug, Clone)]
pub struct Measured(Vec<Round>);

impl Measured {
    /// The round of the median rate.
    pub fn median(&self) -> Round {
        let mut rounds = self.0.clone();
        rounds.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        rounds[rounds.len() / 2]
    }

    /// Requests that were answered, of all rounds.
    pub fn requests(&self) -> u64 {
        self.0.iter().map(|round| round.requests).sum()
    }

    /// The median of the rounds' ratios: two loads of one round met the same machine.
    pub fn against(&self, other: &Self) -> f64 {
        median(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours.rate / theirs.rate))
    }
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub seconds: u64,
    pub rounds: usize,
}

/// Measures the loads in turn, round after round: the machine's speed drifts, and so it drifts for all of them.
pub fn measure(pace: Pace, loads: &[Load]) -> Vec<Measured> {
    let checked: Vec<_> = loads.iter().map(Load::check).collect();
    let mut measured = vec![Measured(Vec::new()); loads.len()];
    for _ in 0..pace.rounds {
        for ((load, checked), measured) in loads.iter().zip(&checked).zip(&mut measured) {
            measured.0.push(load.round(pace.seconds, checked));
        }
    }
    measured
}
