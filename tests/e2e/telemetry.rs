//! What the programs tell of their work, as an operator's collector and Prometheus get it.

mod collector;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::str::FromStr as _;

use gateway_api::error::ErrorCode;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use policies::terms::AudienceId;
use reqwest::blocking::Response;

use crate::world::device::problem;
use crate::world::{BLOCKED, World, repository};
use collector::{Collector, Received};

/// What must not leave, in any form: content, matched text, names of files and people, of an audience, of the machine.
const PLANTED: [&str; 10] = [
    "hedgehog",
    "4556 7375 8689 9855",
    "4556737586899855",
    "quarterly-hedge",
    "Ottilie",
    "Balthasar",
    "walrus-council",
    "localhost",
    "127.0.0.1",
    "hedge-desk",
];
/// Keys that a span may have.
const SPAN_KEYS: [&str; 10] = [
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "sealgate.code",
    "sealgate.decision",
    "sealgate.device.hash",
    "sealgate.devices",
    "sealgate.policy.version",
    "sealgate.stories",
    "sealgate.tenant.hash",
];

/// `[telemetry]` for this collector. It exports at the end alone: what arrives was flushed (H7).
fn settings(collector: &str, ratio: f64) -> String {
    format!(
        "\n[telemetry]\nendpoint = \"{collector}\"\nsample_ratio = {ratio:?}\ninterval_s = 300\ntimeout_s = 20\n"
    )
}

/// A world whose gateway has this section.
fn world_with(section: &str) -> World {
    let mut world = World::new();
    world.stop_gateway();
    let path = world.path("gateway/gateway.toml");
    let mut config: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    let section: toml::Table = section.parse().unwrap();
    config.extend(section);
    fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
    world.start_gateway();
    world
}

fn with_settings(world: &mut World, name: &str, section: &str) {
    world.stop_agent(name);
    fs::write(world.agent_folder(name).join("agent.toml"), section).unwrap();
    world.start_agent(name);
}

fn get(url: &str) -> Response {
    // A client that speaks no TLS wants to know how it would; another test may have told it before.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    reqwest::blocking::get(url).unwrap()
}

fn scrape(world: &World) -> String {
    let answer = get(&format!("{}metrics", world.status_url));
    assert_eq!(answer.status(), 200);
    answer.text().unwrap()
}

/// A day of Ottilie's: a story with a file, one that is blocked, one that the gateway refuses.
fn day(world: &mut World, section: &str) {
    world.employ("Ottilie", "employees");
    world.employ("Balthasar", "employees");
    with_settings(world, "Ottilie", section);
    world
        .agent(
            "Ottilie",
            ["audience", "create", "walrus-council", "--with", "Balthasar"],
        )
        .succeeded();
    let file = world.path("quarterly-hedge.txt");
    fs::write(&file, "the hedgehog's plan").unwrap();
    let file = file.to_str().unwrap();
    let share = |text: &str| {
        let share = [
            "share",
            "--audience",
            "walrus-council",
            "--text",
            text,
            "--file",
            file,
        ];
        world.agent("Ottilie", share)
    };
    let story = share("the hedgehog is on its way").succeeded().json()["story"].clone();
    world.received("Balthasar", story.as_str().unwrap());
    share("hedgehog's card: 4556 7375 8689 9855").ended_with(BLOCKED);
    let audiences = world.agent("Ottilie", ["audience", "list"]).succeeded().json();
    let group = AudienceId::from_str(audiences["audiences"][0]["audience"].as_str().unwrap()).unwrap();
    let refused = problem(world.device("Ottilie").post(group, b"hedgehog", None));
    assert_eq!(refused.code, ErrorCode::ClearanceMissing);
}

fn named<'a>(received: &'a Received, service: &str, name: &str) -> Vec<&'a Span> {
    let of_service = received.spans.iter().filter(|(program, _)| program == service);
    of_service
        .map(|(_, span)| span)
        .filter(|span| span.name == name)
        .collect()
}

fn word(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    let Value::StringValue(word) = found.value.as_ref()?.value.as_ref()? else {
        return None;
    };
    Some(word.clone())
}

/// Names from a span up to the root of its trace.
fn way_up(received: &Received, span: &Span) -> Vec<String> {
    let by_id: BTreeMap<&[u8], &Span> = received
        .spans
        .iter()
        .map(|(_, span)| (span.span_id.as_slice(), span))
        .collect();
    let mut way = vec![span.name.clone()];
    let mut parent = span.parent_span_id.as_slice();
    while let Some(above) = by_id.get(parent) {
        assert_eq!(above.trace_id, span.trace_id);
        way.push(above.name.clone());
        parent = &above.parent_span_id;
    }
    assert!(
        parent.is_empty(),
        "{} hangs below a span that is not here",
        span.name
    );
    way
}

fn assert_clean(what: &str, bytes: &[u8], planted: &[String]) {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    for planted in planted {
        assert!(
            !text.contains(&planted.to_lowercase()),
            "`{planted}` in {what}: {text}"
        );
    }
}

/// R2: nothing that was planted leaves either program, in traces, metrics, records, scrapes or logs; one trace shows the
/// story's way from agent to ledger; and what leaves is flushed at the end (H7).
#[test]
fn telemetry_shows_the_way_of_a_story_and_nothing_of_it() {
    let collector = Collector::start();
    let section = settings(&collector.url, 1.0);
    let mut world = world_with(&section);
    day(&mut world, &section);
    let scraped = scrape(&world);
    let folder = world.path("").display().to_string();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    world.stop_agent("Ottilie");
    world.stop_gateway();
    let received = collector.received();

    assert_way_from_agent_to_ledger(&received);
    assert_listed(&received);
    let mut planted: Vec<String> = PLANTED.map(str::to_owned).to_vec();
    planted.push(folder.trim_end_matches('/').to_owned());
    planted.extend([host.trim().to_owned()].into_iter().filter(|host| host.len() > 3));
    for (path, body) in &received.bodies {
        assert_clean(path, body, &planted);
    }
    assert_clean("what was decoded", received.shown().as_bytes(), &planted);
    assert_clean("/metrics", scraped.as_bytes(), &planted);
    for name in ["gateway", "ottilie", "balthasar"] {
        let log = fs::read(world.path(&format!("{name}.log"))).unwrap();
        assert!(!log.is_empty(), "{name} logs nothing");
        // The address that a process is told to listen at, or to connect to, may be in its own log.
        let planted: Vec<String> = planted
            .iter()
            .filter(|planted| !["localhost", "127.0.0.1"].contains(&planted.as_str()))
            .cloned()
            .collect();
        assert_clean(name, &log, &planted);
    }
    received.keep_for_strangers(&planted);
}

fn assert_way_from_agent_to_ledger(received: &Received) {
    let appends = named(received, "sealgate-gateway", "ledger append");
    let [append] = appends.as_slice() else {
        panic!("{} appends", appends.len());
    };
    assert_eq!(
        way_up(received, append),
        ["ledger append", "commit", "request", "send", "share"]
    );
    let of_trace = |(_, span): &&(String, Span)| span.trace_id == append.trace_id;
    let names: BTreeSet<(&str, &str)> = received
        .spans
        .iter()
        .filter(of_trace)
        .map(|(program, span)| (program.as_str(), span.name.as_str()))
        .collect();
    for name in ["inspect", "decide", "seal", "send"] {
        assert!(names.contains(&("sealgate-agent", name)), "{name}: {names:?}");
    }
    for name in ["request", "decide", "queue", "commit", "wake"] {
        assert!(names.contains(&("sealgate-gateway", name)), "{name}: {names:?}");
    }
    let stories = named(received, "sealgate-gateway", "request")
        .into_iter()
        .any(|span| word(&span.attributes, "http.route").as_deref() == Some("/v1/groups/{group}/stories"));
    assert!(stories);
    let refused = named(received, "sealgate-gateway", "decide")
        .into_iter()
        .any(|span| word(&span.attributes, "sealgate.code").as_deref() == Some("clearance-missing"));
    assert!(refused, "a refusal shows its code");
}

/// Everything that arrived is on the list, and every signal of either program did.
fn assert_listed(received: &Received) {
    for (_, span) in &received.spans {
        for attribute in &span.attributes {
            assert!(SPAN_KEYS.contains(&attribute.key.as_str()), "{}", attribute.key);
        }
        assert!(span.events.is_empty() && span.links.is_empty() && span.trace_state.is_empty());
    }
    let bodies: BTreeSet<&str> = received
        .records
        .iter()
        .map(|record| record.body.as_str())
        .collect();
    for body in ["serving", "story refused", "sealed", "stopping"] {
        assert!(bodies.contains(body), "{body}: {bodies:?}");
    }
    assert!(
        !bodies.iter().any(|body| body.starts_with('(')),
        "a sentence is missing in messages.txt; the logs say which"
    );
    for metric in [
        "sealgate.stories.accepted",
        "sealgate.ledger.entries",
        "sealgate.commit.duration",
    ] {
        assert!(
            received.metrics.contains(metric),
            "{metric}: {:?}",
            received.metrics
        );
    }
    for resource in &received.resources {
        let keys: Vec<&str> = resource.iter().map(|attribute| attribute.key.as_str()).collect();
        assert_eq!(keys.len(), 3, "{keys:?}");
        assert!(keys.iter().all(|key| key.starts_with("service.")), "{keys:?}");
    }
}

/// A device that asks for its traces to be exported gets what the gateway's ratio gives it: none.
#[test]
fn device_forces_no_trace_on_the_gateway() {
    let collector = Collector::start();
    let mut world = world_with(&settings(&collector.url, 0.0));
    let section = settings(&collector.url, 1.0);
    day(&mut world, &section);
    world.stop_agent("Ottilie");
    world.stop_gateway();
    let received = collector.received();
    assert!(!named(&received, "sealgate-agent", "send").is_empty());
    assert!(
        received
            .spans
            .iter()
            .all(|(program, _)| program == "sealgate-agent")
    );
    assert!(received.records.iter().any(|record| record.body == "serving"));
}

/// A collector that takes connections and never answers costs no story and no clean end; the status page and a counter
/// say it, and the gateway is ready all the same.
#[test]
fn collector_that_hangs_stops_nothing() {
    let collector = Collector::hanging();
    let section = settings(&collector.url, 1.0)
        .replace("interval_s = 300", "interval_s = 1")
        .replace("timeout_s = 20", "timeout_s = 1");
    let mut world = world_with(&section);
    day(&mut world, &section);
    let failures = "sealgate_telemetry_export_failures_total{signal=\"traces\"} ";
    let is_counted = |page: &str| {
        let mut lines = page.lines();
        lines.any(|line| line.strip_prefix(failures).is_some_and(|count| count != "0"))
    };
    // Each look is a request to the gateway.
    while !is_counted(&scrape(&world)) {}
    let page = get(&world.status_url).text().unwrap();
    assert!(
        page.contains("the collector of telemetry takes nothing: it does not answer in time"),
        "{page}"
    );
    let ready = get(&format!("{}health/ready", world.status_url));
    assert_eq!(ready.status(), 200);
    world.share("Ottilie", "walrus-council", "stories go on");
    world.stop_agent("Ottilie");
    world.stop_gateway();
    let log = fs::read_to_string(world.log_path("gateway")).unwrap();
    assert!(log.contains("stopped"), "{log}");
    drop(collector);
}

/// Names of our metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("sealgate_"));
    ours.map(str::to_owned).collect()
}

/// Every metric that the dashboard and the alert rules name is one that a gateway shows, and the runbook has each alert.
#[test]
fn dashboard_and_rules_name_metrics_that_exist() {
    let mut world = World::new();
    day(&mut world, "");
    let page = scrape(&world);
    let shown: BTreeSet<String> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect();
    let folder = repository().join("deploy/observability");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    for file in ["dashboard.json", "rules.yml"] {
        let named = metrics_in(&read(file));
        assert!(named.len() > 10, "{file}: {named:?}");
        let missing: Vec<&String> = named.difference(&shown).collect();
        assert!(
            missing.is_empty(),
            "{file} names {missing:?}, which no gateway shows"
        );
    }
    let dashboard: serde_json::Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
    let (rules, runbook) = (read("rules.yml"), read("README.md"));
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<&str> = alerts.collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(
            runbook.contains(&format!("| `{alert}` |")),
            "{alert} has no line in the runbook"
        );
    }
}

/// A sentence of the list that no source says any more would be a hole for another text.
#[test]
fn sentences_of_the_list_are_said() {
    for folder in ["gateway/server/src", "agent/daemon/src"] {
        let folder = repository().join(folder);
        let mut sources = String::new();
        read_sources(&folder, &mut sources);
        let list = fs::read_to_string(folder.join("messages.txt")).unwrap();
        for sentence in list.lines() {
            assert!(sources.contains(&format!("\"{sentence}\"")), "{sentence}");
        }
    }
}

fn read_sources(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, sources);
        } else if path.extension().is_some_and(|end| end == "rs") {
            sources.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
