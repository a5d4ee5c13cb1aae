use flaredb::{Error, Options, Record, encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Factory, done};

#[derive(Debug, Serialize, Deserialize)]
struct Renamed {
    title: String,
}

impl Record for Renamed {
    const KIND: &'static str = "renamed thing";
    const VERSION: u32 = 5;
    const SINCE: u32 = 12;

    fn migrate(_: u32, value: Value) -> Result<Value, Error> {
        Ok(json!({ "title": value["name"] }))
    }

    fn demote(value: Value) -> Result<Value, Error> {
        Ok(json!({ "name": value["title"] }))
    }
}

/// Records are written as the store's schema has them, also those that a commit derives.
pub async fn records_are_written_in_the_format_of_the_schema(factory: impl Factory) {
    for (fresh_schema, text) in [
        (11, r#"{"v":4,"d":{"name":"a"}}"#),
        (12, r#"{"v":5,"d":{"title":"a"}}"#),
    ] {
        let options = Options {
            schema: 12,
            fresh_schema,
            ..Options::default()
        };
        let fresh = factory.make(options).await;
        let db = &fresh.db;
        assert_eq!(db.schema(), fresh_schema);
        let record = Renamed { title: "a".into() };
        let mut tx = db.begin();
        tx.put("x/put", &record).unwrap();
        let seen = tx.get::<Renamed>("x/put").await.unwrap().unwrap();
        assert_eq!(seen.title, "a");
        let lease = db
            .lease_grant(std::time::Duration::from_secs(60))
            .await
            .unwrap();
        tx.put_with_lease("x/leased", &record, lease).unwrap();
        done(tx.commit().await.unwrap());
        for item in db.scan_raw("x/", None, 10).await.unwrap().items {
            assert_eq!(std::str::from_utf8(&item.value).unwrap(), text);
        }
        let bytes = db.encode("x", &record).unwrap();
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), text);
        let read = db.scan::<Renamed>("x/").await.unwrap();
        assert!(read.iter().all(|(_, record)| record.title == "a"));
        assert_eq!(read.len(), 2);
    }
    let current = encode("x", &Renamed { title: "a".into() }).unwrap();
    assert!(current.starts_with(br#"{"v":5"#));
}
