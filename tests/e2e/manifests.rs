//! The Compose file and the Kubernetes manifests name only what exists: probes, ports, secrets, volumes and users.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::dockerfile;
use crate::support::{Server, mintkey, succeed};
use crate::tools::project;

fn text(name: &str) -> String {
    fs::read_to_string(project().join("packaging").join(name)).unwrap()
}

/// The files that the comment at the top has the operator make, in the directory if there is one.
fn created_files(text: &str, directory: &str) -> BTreeSet<String> {
    let comment = text.lines().take_while(|line| line.starts_with('#'));
    let targets = comment.filter_map(|line| line.split_once(" > ")).map(|(_, target)| target.trim());
    targets.map(|target| target.strip_prefix(directory).unwrap_or(target).to_owned()).collect()
}

fn strings(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// The time that requests in flight have after SIGTERM, by default.
fn shutdown_timeout() -> Duration {
    let help = succeed(mintkey().args(["serve", "--help"]));
    let setting = help.split("--shutdown-timeout").nth(1).unwrap();
    let default = setting.split("[default: ").nth(1).unwrap().split(']').next().unwrap();
    humantime::parse_duration(default).unwrap()
}

/// The user id of the image.
fn user() -> u64 {
    dockerfile::image().user.split(':').next().unwrap().parse().unwrap()
}

fn kubernetes() -> Vec<Value> {
    let text = text("kubernetes.yaml");
    serde_norway::Deserializer::from_str(&text)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

#[tokio::test]
async fn kubernetes_probes_and_ports_exist() {
    let documents = kubernetes();
    let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let port = |name: &Value| {
        let ports = container["ports"].as_array().unwrap();
        let port = ports.iter().find(|port| port["name"] == *name).unwrap_or_else(|| panic!("no port {name}"));
        port["containerPort"].as_u64().unwrap()
    };
    let variable = |name: &str| {
        let variables = container["env"].as_array().unwrap();
        variables.iter().find(|variable| variable["name"] == name).unwrap()["value"].as_str().unwrap()
    };
    let admin = variable("MINTKEY_ADMIN_LISTEN").rsplit_once(':').unwrap().1.parse::<u64>().unwrap();
    let server = Server::start_with(&["--admin-listen", "127.0.0.1:0"]);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!(port(&get["port"]), admin, "{probe}");
        let url = format!("{}{}", server.admin_url(), get["path"].as_str().unwrap());
        assert_eq!(reqwest::get(&url).await.unwrap().status(), 200, "{probe}: {url}");
    }
    let service = &of_kind(&documents, "Service")["spec"];
    assert_eq!(port(&service["ports"][0]["targetPort"]), dockerfile::image().port);
    let labels = &of_kind(&documents, "Deployment")["spec"]["template"]["metadata"];
    assert_eq!(labels["annotations"]["prometheus.io/port"], admin.to_string());
    assert_eq!(service["selector"]["app.kubernetes.io/name"], labels["labels"]["app.kubernetes.io/name"]);
    assert!(container["resources"]["limits"]["memory"].is_string() && container["resources"]["requests"].is_object());
}

#[test]
fn kubernetes_secrets_volumes_and_user_exist() {
    let (text, documents) = (text("kubernetes.yaml"), kubernetes());
    let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mounts = container["volumeMounts"].as_array().unwrap();
    let volumes = pod["volumes"].as_array().unwrap();
    let volume = |path: &str| {
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path).unwrap_or_else(|| panic!("no {path}"));
        volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap()
    };
    let created = created_files(&text, "");
    for variable in container["env"].as_array().unwrap() {
        let Some(path) = variable["value"].as_str().unwrap().strip_prefix('/') else { continue };
        let (directory, file) = path.rsplit_once('/').unwrap();
        let secret = volume(&format!("/{directory}"))["secret"]["secretName"].as_str().unwrap();
        assert!(text.contains(&format!("kubectl create secret generic {secret} ")), "{secret} is not created");
        assert!(created.contains(file) && text.contains(&format!("--from-file={file}")), "{file} is not created");
    }
    assert!(volume(&dockerfile::image().volume)["emptyDir"].is_object());
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], user());
    let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let grace = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().unwrap());
    assert!(grace > Duration::from_secs(pause) + shutdown_timeout());
    let account = &of_kind(&documents, "ServiceAccount")["metadata"]["name"];
    assert_eq!(pod["serviceAccountName"], *account);
    assert_eq!(container["args"][0], "serve");
}

#[test]
fn compose_names_what_exists() {
    let text = text("compose/compose.yaml");
    let file: Value = serde_norway::from_str(&text).unwrap();
    let created = created_files(&text, "secrets/");
    for (name, secret) in file["secrets"].as_object().unwrap() {
        let path = secret["file"].as_str().unwrap().strip_prefix("./secrets/").unwrap();
        assert!(path == name && created.contains(path) || text.contains(&format!("secrets/{path}\n")), "{path}");
    }
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    for (name, service) in file["services"].as_object().unwrap() {
        assert!(strings(&service["secrets"]).is_subset(&names(&file["secrets"])), "{name}");
        assert!(strings(&service["networks"]).is_subset(&names(&file["networks"])), "{name}");
        for dependency in service["depends_on"].as_object().into_iter().flatten() {
            assert!(file["services"][dependency.0]["healthcheck"].is_object(), "{name}: {}", dependency.0);
        }
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            let Some(secret) = value.as_str().unwrap().strip_prefix("/run/secrets/") else { continue };
            assert!(strings(&service["secrets"]).contains(secret), "{name}: {variable}");
        }
    }
    let mintkey = &file["services"]["mintkey"];
    assert_eq!(mintkey["read_only"], true);
    let (path, options) = mintkey["tmpfs"][0].as_str().unwrap().split_once(':').unwrap();
    assert_eq!(path, dockerfile::image().volume);
    assert!(options.contains(&format!("uid={}", user())), "{options}");
    assert_eq!(mintkey["build"]["dockerfile"], "packaging/Dockerfile");
    let grace = humantime::parse_duration(mintkey["stop_grace_period"].as_str().unwrap()).unwrap();
    assert!(grace > shutdown_timeout());
}
