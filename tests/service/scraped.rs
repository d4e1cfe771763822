//! A real Prometheus scrapes a running router: the text is as promtool wants it, every query of the dashboard has an answer, every
//! rule of the alerts can be evaluated.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::estate::{Estate, Folder, Plan, wait};
use crate::peers::inbox::Inbox;
use crate::peers::stream::chat;

/// What a query in Grafana's hands is to Prometheus: all instances, and an interval that holds a few scrapes.
fn plain(query: &str) -> String {
    query.replace("$instance", ".*").replace("$__rate_interval", "10s")
}

/// A page over HTTP.
fn get(address: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    // What is asked wrongly is told in the body.
    assert!(head.contains(" 200 ") || head.contains(" 400 "), "{path}: {head}\n{body}");
    body.to_owned()
}

/// As a query's value in an address.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: Folder,
}

impl Prometheus {
    fn scraping(target: SocketAddr) -> Self {
        let folder = Folder::new();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/alerts.yml");
        let config = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms }}\nrule_files: [\"{}\"]\n\
             scrape_configs: [{{ job_name: turnout, static_configs: [{{ targets: [\"{target}\"] }}] }}]\n",
            rules.display()
        );
        let config = folder.write("prometheus.yml", config);
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.level=info"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus is in the package prometheus");
        let lines: Inbox<String> = Inbox::default();
        let (log, stderr) = (lines.clone(), BufReader::new(child.stderr.take().unwrap()));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| log.push(line)));
        let line = lines.first("its address", |line| line.contains("Listening on"));
        let address = line.split("address=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        lines.first("that it is ready", |line| line.contains("Server is ready"));
        Self { child, address, _folder: folder }
    }

    fn ask(&self, path: &str) -> Value {
        let answer = get(self.address, path);
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: {answer}"))
    }

    /// The series a query gives.
    fn query(&self, query: &str) -> Vec<Value> {
        let told = self.ask(&format!("/api/v1/query?query={}", encoded(query)));
        assert_eq!(told["status"], "success", "{query}: {told}");
        told["data"]["result"].as_array().unwrap().clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have failed by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The targets of every panel, with the panel's title.
fn panels(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    });
    targets.collect()
}

/// An estate with traffic of every kind: both tracks, a refusal, and a stranger who would like to be a label.
fn busy() -> (Estate, SocketAddr) {
    let estate = Estate::with(&Plan { drain_seconds: 20, ..Plan::default() });
    let admin =
        estate.runtime.block_on(turnout::desk::open(&estate.router, ([127, 0, 0, 1], 0).into())).unwrap();
    let mut stranger = TcpStream::connect(estate.outside()).unwrap();
    let header = crate::peers::stream::header("stranger.example", "contoso.com", "");
    stranger.write_all(header.as_bytes()).unwrap();
    (estate, admin)
}

#[test]
fn a_scrape_is_as_prometheus_wants_it() {
    let (estate, admin) = busy();
    let text = get(admin, "/metrics");
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is in the package prometheus");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    // Nobody outside chooses a label.
    assert!(!text.contains("stranger.example") && !text.contains("partner.example"), "{text}");
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!((100..600).contains(&series), "{series} series");
    drop(estate);
}

#[test]
fn every_query_of_the_dashboard_has_an_answer() {
    let (estate, admin) = busy();
    let prometheus = Prometheus::scraping(admin);
    let mut wire = estate.partner_stream("contoso.com");
    let users = ["anna@contoso.com", "carla@contoso.com", "nobody@contoso.com"];
    let mut sent = 0;
    let mut say = || {
        wire.send(chat("bob@partner.example/phone", users[sent % 3], &sent.to_string(), "hello"));
        sent += 1;
    };
    let dashboard: Value = serde_json::from_str(include_str!("../../config/dashboard.json")).unwrap();
    let panels = panels(&dashboard);
    assert!(panels.len() >= 25, "{} queries", panels.len());
    for (title, query) in &panels {
        // Where only what is wrong is shown there may be nothing.
        let query = plain(query);
        prometheus.query(&query);
        let all = query.strip_suffix(" > 0").unwrap_or(&query);
        wait(&format!("data of {title:?}: {all}"), || {
            say();
            if prometheus.query(all).is_empty() { Err("nothing".to_owned()) } else { Ok(()) }
        });
    }
    // The figures are those of the traffic, not only there.
    let two_sides = "count(turnout_side_stanzas_delivered_total{side=~\"legacy|sfb2019\"} > 0)";
    wait("both tracks", || match prometheus.query(two_sides).first() {
        Some(series) if series["value"][1] == "2" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // The list of instances, by which panels are chosen.
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|of| of["query"] == "label_values(turnout_build_info, instance)"));
    let instances = prometheus.ask("/api/v1/label/instance/values?match[]=turnout_build_info");
    assert_eq!(instances["data"][0], admin.to_string(), "{instances}");
    // Every rule has been evaluated, and none fires.
    wait("the rules", || {
        let told = prometheus.ask("/api/v1/rules");
        let groups = told["data"]["groups"].as_array().unwrap().clone();
        let rules: Vec<Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
        assert!(rules.iter().all(|rule| rule["health"] != "err" && rule["state"] != "firing"), "{told}");
        if rules.len() > 10 && rules.iter().all(|rule| rule["health"] == "ok") {
            Ok(())
        } else {
            Err(told.to_string())
        }
    });
    drop(prometheus);
    estate.finish(sent as u64);
}
