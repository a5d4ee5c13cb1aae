//! Stores as the program of before wrote them: today's servers open them and answer the same.
//!
//! The files beside this one were made by the servers of commit d7921fd, through their API alone, with something of
//! every kind in them: what there is of every noun, what was deleted, the answers to calls that may be repeated, events, a
//! port that works, one that does not and one that nobody has reported of, a VM of every phase, one whose creation was
//! undone and one that was left on a lost host, machines on every step of their way. `golden.json` is what these servers
//! answered when they had opened the stores anew. The change logs but one were then cut, as a store does by itself, and the
//! files vacuumed. Passwords and keys in them are of no other use.
//!
//! | in `golden.json` | holds |
//! | --- | --- |
//! | `sign_ins` | who signs in with what: passwords and API keys are verified against the stores |
//! | `calls` | calls that read, with their answer or the code of their refusal; built-in roles are left out |
//! | `repeated` | calls that changed something, with their `request_id`: they answer the same again |
//! | `events` | the head of each chain, and of each event what an auditor would look for (of the first two all) |

mod json;
mod servers;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tonic::Status;

use json::Api;
use servers::SERVERS;

/// The servers with the stores, and who has signed in.
struct Cloud {
    api: Api,
    servers: photon_testkit::Cloud,
    tokens: BTreeMap<String, String>,
}

fn golden() -> Value {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

fn entries<'a>(golden: &'a Value, what: &str) -> &'a [Value] {
    let entries = golden[what].as_array().unwrap();
    assert!(!entries.is_empty(), "nothing is known of {what}");
    entries
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn copy_stores(dir: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores");
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
        std::fs::set_permissions(to, PermissionsExt::from_mode(0o600)).unwrap();
    };
    for server in SERVERS {
        let store = dir.join(server).join("flaredb.sqlite");
        copy(&from.join(format!("{server}.sqlite")), &store);
    }
    copy(&from.join("server-key"), &dir.join("iam/server-key"));
    for entry in std::fs::read_dir(from.join("credentials")).unwrap() {
        let entry = entry.unwrap();
        let to = dir.join("credentials").join(entry.file_name());
        copy(&entry.path(), &to);
    }
}

impl Cloud {
    /// Copies of the stores, opened by today's servers.
    async fn open(golden: &Value) -> Self {
        let mut cloud = Self {
            api: Api::new(),
            servers: servers::start(copy_stores).await,
            tokens: BTreeMap::new(),
        };
        for sign_in in entries(golden, "sign_ins") {
            let request = [sign_in["request"].clone()];
            let issued = cloud
                .call("", "iam.v1.IamTokenService/IssueToken", &request)
                .await;
            let issued = issued.unwrap_or_else(|status| panic!("{}: {status}", sign_in["name"]));
            cloud
                .tokens
                .insert(text(&sign_in["name"]).into(), text(&issued["token"]).into());
        }
        cloud
    }

    async fn call(&self, by: &str, method: &str, messages: &[Value]) -> Result<Value, Status> {
        let server = method.split('.').next().unwrap();
        self.call_at(server, by, method, messages).await
    }

    async fn call_at(
        &self,
        server: &str,
        by: &str,
        method: &str,
        messages: &[Value],
    ) -> Result<Value, Status> {
        let channel = servers::channel(&self.servers, server);
        let token = self.tokens.get(by).map(String::as_str);
        self.api.call(&channel, token, method, messages).await
    }

    /// What is not as it is remembered of one call.
    async fn differences(&self, entry: &Value, messages: &[Value]) -> Vec<String> {
        let (by, method) = (text(&entry["by"]), text(&entry["method"]));
        let called = format!("{method} of {} by {by}", Value::from(messages));
        let answered = self.call(by, method, messages).await;
        let mut wrong = Vec::new();
        match (answered, entry.get("code")) {
            (Ok(mut answer), None) => {
                if let Some(Value::Array(roles)) = answer.get_mut("roles") {
                    roles.retain(|role| role["built_in"] != true);
                }
                without_agents_since(&entry["answer"], &mut answer);
                let mut known = entry["answer"].clone();
                // A set, told in the order of the ids since hosts are told changes of it.
                if method == "plasmavmc.v1.NodeService/WatchDesired"
                    && let Some(Value::Array(vms)) = known.get_mut("vms")
                {
                    vms.sort_by(|one, other| text(&one["id"]).cmp(text(&other["id"])));
                }
                compare(&known, &answer, &called, &mut wrong);
            }
            (Err(status), Some(code)) => {
                if format!("{:?}", status.code()) != text(code) {
                    wrong.push(format!("{called}: {status} instead of {code}"));
                }
            }
            (Ok(answer), Some(code)) => {
                wrong.push(format!("{called}: {answer} instead of {code}"));
            }
            (Err(status), None) => wrong.push(format!("{called}: {status}")),
        }
        wrong
    }
}

/// Hosts that have joined are given the identities of agents that there are since.
fn without_agents_since(known: &Value, answer: &mut Value) {
    for (list, field, since) in [
        ("principals", "name", "flashdns-agent@"),
        ("bindings", "role_id", "NodeAgent"),
    ] {
        let ids: Vec<&Value> = known[list].as_array().into_iter().flatten().collect();
        if let Some(Value::Array(items)) = answer.get_mut(list) {
            items.retain(|item| {
                ids.iter().any(|known| known["id"] == item["id"])
                    || !text(&item[field]).starts_with(since)
            });
        }
    }
}

/// Everything that was known then is there and the same; what the API has got since is no matter.
fn compare(known: &Value, answer: &Value, at: &str, wrong: &mut Vec<String>) {
    match (known, answer) {
        (Value::Object(known), Value::Object(answer)) => {
            for (name, known) in known {
                match answer.get(name) {
                    Some(answer) => compare(known, answer, &format!("{at}: {name}"), wrong),
                    // An absent message.
                    None if known.is_null() => {}
                    None => wrong.push(format!("{at}: no {name}, it was {known}")),
                }
            }
        }
        (Value::Array(known), Value::Array(answer)) if known.len() == answer.len() => {
            for (index, (known, answer)) in known.iter().zip(answer).enumerate() {
                compare(known, answer, &format!("{at}[{index}]"), wrong);
            }
        }
        (known, answer) if known == answer => {}
        (known, answer) => wrong.push(format!("{at}: {answer}, it was {known}")),
    }
}

#[track_caller]
fn expect_none(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} are not as they were:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_read_as_it_was() {
    let golden = golden();
    let mut cloud = Cloud::open(&golden).await;
    let mut wrong = Vec::new();
    for entry in entries(&golden, "calls") {
        let messages = [entry["request"].clone()];
        wrong.extend(cloud.differences(entry, &messages).await);
    }
    expect_none(&wrong);
    for server in SERVERS {
        cloud.servers.stop(server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_answered_before_is_answered_the_same() {
    let golden = golden();
    let cloud = Cloud::open(&golden).await;
    let mut wrong = Vec::new();
    for entry in entries(&golden, "repeated") {
        let messages = entry["messages"].as_array().unwrap();
        wrong.extend(cloud.differences(entry, messages).await);
    }
    expect_none(&wrong);
    // And it changed nothing.
    for entry in entries(&golden, "calls") {
        let messages = [entry["request"].clone()];
        wrong.extend(cloud.differences(entry, &messages).await);
    }
    expect_none(&wrong);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chains_go_on_from_the_events_that_there_were() {
    let golden = golden();
    let cloud = Cloud::open(&golden).await;
    let mut wrong = Vec::new();
    for chain in entries(&golden, "events") {
        let (server, org) = (text(&chain["server"]), &chain["org_id"]);
        let at = format!("{server}, chain of '{org}'");
        let asked = [json!({"org_id": org, "page_size": 1000})];
        let list = "chainfire.v1.EventService/ListEvents";
        let listed = cloud.call_at(server, "operator", list, &asked).await;
        let known = chain["events"].as_array().unwrap();
        // What has happened since, such as a sign-in, comes after them.
        let found = listed.unwrap()["events"].as_array().unwrap().clone();
        assert!(found.len() >= known.len(), "{at}: {} events", found.len());
        let found = Value::from(&found[..known.len()]);
        compare(&chain["events"], &found, &at, &mut wrong);
        let asked = [json!({
            "org_id": org,
            "known_sequence": chain["head_sequence"],
            "known_hash": chain["head_hash"],
        })];
        let verify = "chainfire.v1.EventService/VerifyChain";
        let verified = cloud.call_at(server, "operator", verify, &asked).await;
        let verified = verified.unwrap();
        assert_eq!(verified["intact"], true, "{at}: {verified}");
    }
    expect_none(&wrong);
}

/// The tests above must be able to fail.
#[test]
fn what_is_missing_or_other_is_a_difference_and_what_is_new_is_none() {
    let known = json!({"id": "a", "labels": {"x": "1"}, "list": [1, 2], "none": null});
    let differences = |answer: Value| {
        let mut wrong = Vec::new();
        compare(&known, &answer, "it", &mut wrong);
        wrong
    };
    let same = json!({"id": "a", "labels": {"x": "1"}, "list": [1, 2], "new": 7});
    assert_eq!(differences(same), [""; 0]);
    let other = json!({"id": "b", "labels": {}, "list": [1, 2, 3]});
    assert_eq!(differences(other).len(), 3);
    assert_eq!(differences(json!({})).len(), 3);
}
