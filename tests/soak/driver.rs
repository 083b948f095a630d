//! Clients that each send one operation at a time, by a schedule. A slow response delays a client's next operations, but
//! leaves none out.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Settings;
use crate::counted::{Counted, KeyState, Operation};
use crate::support::{self, KEYS, Response, VERIFY};

const FORWARD_AUTH: &str = "/api/auth/forward";

/// A client creates keys until it has this many that are not revoked. From then on, creates and revocations alternate.
const LIVE_KEYS: usize = 50;

/// So many of a client's revoked keys continue to be verified.
const REVOKED_KEYS: usize = 20;

/// In percent. What remains are creates and revocations.
const MIX: [(Operation, u32); 5] = [
    (Operation::Verify, 62),
    (Operation::ForwardAuth, 15),
    (Operation::List, 5),
    (Operation::Rotate, 4),
    (Operation::Update, 4),
];

pub struct Driver {
    pub urls: Vec<String>,
    pub gateway: String,
    pub owners: Vec<String>,
}

impl Driver {
    /// Sends requests for the whole time, and returns what was counted.
    pub async fn run(&self, settings: Settings) -> Counted {
        let clients = self.owners.len() as u32;
        let interval = Duration::from_secs(1) * clients / settings.rate;
        let operations = (settings.time.as_secs_f64() / interval.as_secs_f64()) as u32;
        let started = Instant::now();
        let clients = self.owners.iter().zip(0..).map(|(owner, n)| {
            let client = SoakClient::new(&self.urls, &self.gateway, owner);
            // Spread over the interval, so that the rate is steady.
            let first = started + interval * n / clients;
            tokio::spawn(client.run(first, interval, operations))
        });
        let mut counted = Counted::default();
        for client in join_all(clients).await {
            counted.add(client.unwrap());
        }
        counted
    }
}

struct LiveKey {
    id: Uuid,
    secret: String,
}

struct SoakClient {
    client: Client,
    urls: Vec<String>,
    gateway: String,
    owner: String,
    live: Vec<LiveKey>,
    revoked: Vec<LiveKey>,
    counted: Counted,
}

fn random(below: usize) -> usize {
    rand::random_range(0..below)
}

impl SoakClient {
    fn new(urls: &[String], gateway: &str, owner: &str) -> Self {
        Self {
            client: support::client(),
            urls: urls.to_vec(),
            gateway: gateway.to_owned(),
            owner: owner.to_owned(),
            live: Vec::new(),
            revoked: Vec::new(),
            counted: Counted::default(),
        }
    }

    async fn run(mut self, first: Instant, interval: Duration, operations: u32) -> Counted {
        for n in 0..operations {
            let planned = first + interval * n;
            tokio::time::sleep_until(planned.into()).await;
            self.counted.behind = self.counted.behind.max(planned.elapsed());
            let operation = self.choose();
            let started = Instant::now();
            if let Err(unexpected) = self.perform(operation).await {
                self.counted.unexpected.push(format!("{}: {unexpected}", operation.name()));
            }
            let third = (n * 3 / operations) as usize;
            let times = self.counted.times.entry(operation).or_default();
            times[third].push(started.elapsed().as_micros() as u32);
        }
        self.counted
    }

    fn choose(&self) -> Operation {
        if self.live.is_empty() {
            return Operation::Create;
        }
        let mut left = random(100) as u32;
        for (operation, share) in MIX {
            if left < share {
                return operation;
            }
            left -= share;
        }
        if self.live.len() < LIVE_KEYS { Operation::Create } else { Operation::Revoke }
    }

    async fn perform(&mut self, operation: Operation) -> Result<(), String> {
        match operation {
            Operation::Create => self.create().await,
            Operation::Verify => self.verify().await,
            Operation::ForwardAuth => self.forward_auth().await,
            Operation::List => self.send(self.own(Method::GET, "?limit=20"), 200).await.map(drop),
            Operation::Rotate => self.rotate().await,
            Operation::Revoke => self.revoke().await,
            Operation::Update => self.update().await,
        }
    }

    /// A request to any of the replicas.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.urls[random(self.urls.len())]))
    }

    /// A request of the owner below the path of the keys.
    fn own(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, &format!("{KEYS}{path}")).bearer_auth(&self.owner)
    }

    async fn send(&self, request: RequestBuilder, status: u16) -> Result<Value, String> {
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let response = Response::read(response).await;
        if response.status == status {
            Ok(response.body)
        } else {
            Err(format!("{} {}", response.status, response.text))
        }
    }

    async fn create(&mut self) -> Result<(), String> {
        let body = json!({ "name": "soak", "scopes": ["projects:read"] });
        let made = self.send(self.own(Method::POST, "").json(&body), 201).await?;
        let key = LiveKey { id: support::id(&made).parse().unwrap(), secret: support::secret(&made).to_owned() };
        self.counted.keys.insert(key.id, KeyState { name: "soak".to_owned(), revoked: false });
        self.count_event(key.id, "created");
        self.live.push(key);
        Ok(())
    }

    async fn verify(&mut self) -> Result<(), String> {
        let is_revoked = !self.revoked.is_empty() && random(10) == 0;
        let keys = if is_revoked { &self.revoked } else { &self.live };
        let key = &keys[random(keys.len())];
        let id = key.id;
        let request = self.request(Method::POST, VERIFY).bearer_auth(&self.gateway).json(&json!({ "key": key.secret }));
        let response = self.send(request, 200).await?;
        let verdict = response["code"].as_str().unwrap().to_owned();
        // Another replica may learn of the revocation later.
        let expected = verdict == "VALID" || is_revoked && verdict == "REVOKED";
        if expected {
            self.count_verdict(id, verdict)
        } else {
            return Err(response.to_string());
        };
        Ok(())
    }

    async fn forward_auth(&mut self) -> Result<(), String> {
        let key = &self.live[random(self.live.len())];
        let id = key.id;
        self.send(self.request(Method::GET, FORWARD_AUTH).bearer_auth(&key.secret), 200).await?;
        self.count_verdict(id, "VALID".to_owned());
        Ok(())
    }

    async fn rotate(&mut self) -> Result<(), String> {
        let index = random(self.live.len());
        let id = self.live[index].id;
        let rotated = self.send(self.own(Method::POST, &format!("{id}/rotate")), 201).await?;
        self.live[index].secret = support::secret(&rotated).to_owned();
        self.count_event(id, "rotated");
        Ok(())
    }

    async fn revoke(&mut self) -> Result<(), String> {
        let index = random(self.live.len());
        let id = self.live[index].id;
        self.send(self.own(Method::POST, &format!("{id}/revoke")), 200).await?;
        self.counted.keys.get_mut(&id).unwrap().revoked = true;
        self.count_event(id, "revoked");
        let key = self.live.swap_remove(index);
        self.revoked.push(key);
        if self.revoked.len() > REVOKED_KEYS {
            self.revoked.remove(0);
        }
        Ok(())
    }

    async fn update(&mut self) -> Result<(), String> {
        let id = self.live[random(self.live.len())].id;
        let name = format!("soak {}", random(1_000_000));
        self.send(self.own(Method::PATCH, &id.to_string()).json(&json!({ "name": name })), 200).await?;
        self.counted.keys.get_mut(&id).unwrap().name = name;
        self.count_event(id, "updated");
        Ok(())
    }

    fn count_event(&mut self, id: Uuid, action: &str) {
        *self.counted.events.entry((id, action.to_owned())).or_default() += 1;
    }

    fn count_verdict(&mut self, id: Uuid, verdict: String) {
        *self.counted.usage.entry((id, verdict)).or_default() += 1;
    }
}
