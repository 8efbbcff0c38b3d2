//! Local recovery over its socket: what it takes, what it does, and what it leaves behind.
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use mcpctl_api::local::{KeyError, LocalError, folder, recover_administrator};
use mcpctl_api::server::bootstrap::ADMINISTRATOR;
use mcpctl_api::server::control_plane::{ControlPlane, OpenError};
use mcpctl_api::server::recovery::RecoveryError;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::house::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_password_is_replaced_and_nothing_else_is_changed() {
    let house = House::start().await;
    let recovered = recover_administrator(&house.data(), None).await.unwrap();
    assert_eq!((recovered.user.as_str(), recovered.bound), (ADMINISTRATOR, false));
    house.log_in(ADMINISTRATOR, &recovered.password).await.is(200);
    house.log_in(ADMINISTRATOR, house.first.as_ref().unwrap().password.expose()).await.problem(401);
    house.get("/auth/me").await.problem(401);
    let admin = house.log_in(ADMINISTRATOR, &recovered.password).await.json()["token"].as_str().unwrap().to_owned();
    let get = async |path: &str| house.by(Some(&admin), "GET", path).send().await.is(200).json();
    let past = get(&format!("/api/v1/users/{ADMINISTRATOR}/history")).await;
    let set = past["items"].as_array().unwrap().iter().find(|event| event["seq"] == recovered.seq.0).unwrap().clone();
    assert_eq!(
        (&set["event"], &set["authz"]["mode"], &set["actor"]["kind"]),
        (&json!("user.password-set"), &json!("local"), &json!("local"))
    );
    let lines = get("/api/v1/audit/events?kind=recovery").await;
    let line = &lines["items"][0];
    assert_eq!((&line["allowed"], &line["actor"]["kind"]), (&json!(true), &json!("local")));
    assert!(line["reason"].as_str().unwrap().contains(ADMINISTRATOR), "{line}");
    assert!(!lines.to_string().contains(&recovered.password));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_is_gone_or_disabled_comes_back_and_others_gain_nothing() {
    let house = House::start().await;
    let all = [
        json!({ "role": "edit", "resource": "*" }),
        json!({ "role": "run", "resource": "*" }),
        json!({ "role": "run", "action": "*" }),
    ];
    house.person("eve@example.com").await;
    house.person("two@example.com").await;
    // Somebody has an object of that name already; what it gives is not to grow.
    let view = json!({ "subjects": [{ "kind": "User", "name": "eve@example.com" }], "roleBindings": [{ "role": "view", "resource": "servers" }] });
    house.put("/rbac/local-recovery", view.clone()).await.is(201);
    house
        .put("/rbac/two", json!({ "subjects": [{ "kind": "User", "name": "two@example.com" }], "roleBindings": all }))
        .await
        .is(201);
    house.delete(&format!("/users/{ADMINISTRATOR}")).await.is(200);
    let two =
        house.log_in("two@example.com", crate::house::PASSWORD).await.json()["token"].as_str().unwrap().to_owned();
    for user in [ADMINISTRATOR, "ANN@example.com "] {
        let recovered = recover_administrator(&house.data(), Some(user.to_owned())).await.unwrap();
        assert!(recovered.bound, "{user}");
        let bearer = house.log_in(&recovered.user, &recovered.password).await.is(200).json()["token"]
            .as_str()
            .unwrap()
            .to_owned();
        house
            .by(Some(&bearer), "PUT", "/api/v1/users/eve@example.com")
            .json(&json!({ "displayName": user }))
            .send()
            .await
            .is(200);
        house
            .by(Some(&two), "PUT", &format!("/api/v1/users/{}", recovered.user))
            .json(&json!({ "disabled": true }))
            .send()
            .await
            .is(200);
        let again = recover_administrator(&house.data(), Some(user.to_owned())).await.unwrap();
        assert!(!again.bound, "the rights were there still");
        house.log_in(&again.user, &again.password).await.is(200);
    }
    let eve =
        house.by(Some(&two), "GET", "/api/v1/access/what-can?subject=User:eve@example.com").send().await.is(200).text;
    assert!(!eve.contains("edit"), "{eve}");
    let refused = recover_administrator(&house.data(), Some("not an address".to_owned())).await;
    assert!(matches!(refused, Err(LocalError::Refused { .. })));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_takes_the_key_and_a_key_that_others_can_read_is_none() {
    let house = House::start().await;
    let (local, seq) = (folder(&house.data()), house.seq().await);
    for (name, mode) in [("", 0o700), ("control.sock", 0o600), ("recovery.key", 0o600)] {
        assert_eq!(fs::metadata(local.join(name)).unwrap().mode() & 0o777, mode, "{name:?}");
    }
    for (said, about) in [
        (json!({ "key": "00".repeat(32) }).to_string(), "the key is wrong"),
        (json!({ "key": "" }).to_string(), "the key is wrong"),
        (json!({ "user": "eve@example.com" }).to_string(), "can't be read"),
        ("GET / HTTP/1.1\r\n".to_owned(), "can't be read"),
        ("x".repeat(9000), "can't be read"),
    ] {
        let mut stream = UnixStream::connect(local.join("control.sock")).await.unwrap();
        // What is too long is not taken to its end.
        let _ = stream.write_all(format!("{said}\n").as_bytes()).await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.contains(about) || said.len() > 4096, "{answer}");
    }
    let key = local.join("recovery.key");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let exposed = recover_administrator(&house.data(), None).await;
    assert!(matches!(exposed, Err(LocalError::Key(KeyError::Exposed { mode: 0o644, .. }))));
    let lines = house.get("/audit/events?kind=recovery").await.json();
    assert!(lines["items"].as_array().unwrap().iter().all(|line| line["allowed"] == false), "{lines}");
    assert!(lines["items"].as_array().unwrap().len() >= 4);
    assert_eq!(house.seq().await, seq, "no event");
    // Nor does a control plane start with such a key.
    let data = house.data();
    let kept = house.stop().await;
    assert!(matches!(
        ControlPlane::open(&data).await,
        Err(OpenError::Recovery(RecoveryError::Key(KeyError::Exposed { .. })))
    ));
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let nobody = recover_administrator(&data, None).await;
    assert!(matches!(nobody, Err(LocalError::NobodyThere { .. })));
    House::on(kept).await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_with_a_long_path_has_a_way_in_too() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("a".repeat(90)).join("b".repeat(90));
    let control = ControlPlane::open(&data).await.unwrap();
    mcpctl_api::server::bootstrap::first_start(control.app()).await.unwrap();
    assert!(!recover_administrator(&data, None).await.unwrap().bound);
    control.shutdown().await;
}
