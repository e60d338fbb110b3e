//! A gateway that several people share, behind a proxy that tells who they are. The host's
//! own rule of who may look into a session and write there narrows what can be ridden, and
//! `rideAllow` narrows it further.

use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{Stage, TURN};
use super::{Facts, Product};
use crate::client::{Answered, Client};
use crate::error::Result;
use crate::telegram::{Person, Place};
use crate::wait::settled;

const FORUM: i64 = -1_002_222_222_222;
const ADA: &str = "ada@example.org";
const OMAR: &str = "omar@example.org";
/// How long the host's notice of a change may be on its way.
const NOTICE: Duration = Duration::from_secs(10);
/// For the owner, who does not come through the proxy.
const PASSWORD: &str = "of-this-machine";

// Rule GATE-6.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let scopes = ["operator.read", "operator.write"];
    let proxy = json!({ "gateway": {
        "trustedProxies": ["127.0.0.1"],
        "auth": {
            "mode": "trusted-proxy", "token": null, "password": PASSWORD,
            "identityScopes": { ADA: scopes, OMAR: scopes },
            "trustedProxy": { "userHeader": "x-forwarded-user", "allowLoopback": true },
        },
    } });
    let allow = json!({ "rideAllow": [{ "people": [format!("user:{ADA}")] }] });
    let stage = Stage::build(product, allow, |builder| builder.allow(&[1001]).config(&proxy)).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let key = format!("agent:main:telegram:group:{FORUM}:topic:42");
    stage.telegram.says(&Person::tess(), &plans, "the code word is MANGO");
    stage.telegram.wait_for_bot(&plans, TURN, "]: the code word is MANGO").await?;

    let mut owner = Client::connect_owner(&stage.gateway, PASSWORD).await?;
    let mut ada = Client::connect_person(&stage.gateway, ADA).await?;
    let mut omar = Client::connect_person(&stage.gateway, OMAR).await?;

    let row = row(&mut ada, &key).await?;
    facts.tell(row["rideable"] == true, "a person whom rideAllow names may ride", why(&row));
    let row = self::row(&mut omar, &key).await?;
    let told = format!("rule 1 of rideAllow has the thread, but not user:{OMAR}");
    facts.tell(row["rideable"] == false && why(&row).contains(&told), "another is shown why not", why(&row));
    let refused = claim(&mut omar, &key).await?;
    facts.tell(
        reason(&refused) == "NOT_ALLOWED" && message(&refused).contains(&told),
        "and is refused with the same words",
        message(&refused),
    );

    share(&mut owner, &key, "read-only").await?;
    let row = settled(NOTICE, async || self::row(&mut ada, &key).await, |row| row["rideable"] == false).await?;
    facts.tell(
        row["rideable"] == false && why(&row).contains("session visibility"),
        "what the host has others only read is not ridden by them",
        why(&row),
    );
    let refused = claim(&mut ada, &key).await?;
    facts.tell(reason(&refused) == "NOT_ALLOWED", "nor claimed", message(&refused));

    share(&mut owner, &key, "draft").await?;
    let row = settled(NOTICE, async || self::row(&mut ada, &key).await, Value::is_null).await?;
    facts.tell(row.is_null(), "what the host hides is not listed", why(&row));
    let refused = claim(&mut ada, &key).await?;
    facts.tell(reason(&refused) == "UNKNOWN_THREAD", "and does not exist for a claim", message(&refused));
    let row = self::row(&mut owner, &key).await?;
    facts.tell(!row.is_null(), "the gateway's owner sees it", why(&row));

    share(&mut owner, &key, "shared").await?;
    let granted = claim(&mut ada, &key).await?;
    let fence = granted.as_ref().map(|grant| grant["fence"].clone()).unwrap_or_default();
    facts.tell(granted.is_ok(), "shared again, she rides it", message(&granted));
    let released = ada.call("ride_release", json!({ "key": key, "fence": fence })).await?;
    facts.tell(released.as_ref().is_ok_and(|answer| answer["open"] == true), "and hands it back", message(&released));
    Ok(())
}

async fn row(client: &mut Client, key: &str) -> Result<Value> {
    let listed = client.call("sessions_rideable", json!({})).await?.unwrap_or_else(|error| error);
    let rows = listed["rows"].as_array().cloned().unwrap_or_default();
    Ok(rows.into_iter().find(|row| row["key"] == key).unwrap_or_default())
}

/// Claims it from a machine that is none: nothing is looked for there.
async fn claim(client: &mut Client, key: &str) -> Result<Answered> {
    let driver = json!({ "name": "ada", "host": "laptop", "process": { "machine": "none", "pid": 1, "start": 1 } });
    client.call("ride_claim", json!({ "key": key, "driver": driver, "secret": "0".repeat(32) })).await
}

async fn share(owner: &mut Client, key: &str, visibility: &str) -> Result<()> {
    let set = owner.call("session.visibility.set", json!({ "sessionKey": key, "visibility": visibility })).await?;
    set.map(drop)
        .map_err(|error| crate::error::Error::Peer { what: "session.visibility.set".into(), said: error.to_string() })
}

fn why(row: &Value) -> String {
    match &row["whyNot"] {
        Value::String(why) => why.clone(),
        _ if row.is_null() => "not listed".into(),
        _ => format!("mode {}", row["mode"]),
    }
}

fn reason(answered: &Answered) -> &str {
    answered.as_ref().err().and_then(|error| error["details"]["reason"].as_str()).unwrap_or_default()
}

fn message(answered: &Answered) -> String {
    answered.as_ref().map_or_else(|error| error["message"].as_str().unwrap_or_default().to_owned(), |_| "taken".into())
}
