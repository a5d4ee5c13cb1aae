use std::os::unix::fs::PermissionsExt;

use super::*;

fn pair(number: u32) -> Pair {
    Pair {
        certificate: format!("certificate {number}"),
        key: format!("key {number}"),
    }
}

fn scratch() -> (tempfile::TempDir, Pki) {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::at(dir.path());
    (dir, pki)
}

fn names(pki: &Pki) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(pki.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(pki: &Pki, name: &str) -> u32 {
    fs::metadata(pki.path(name)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_pair_comes_into_place_with_its_modes_and_nothing_else() {
    let (_dir, pki) = scratch();
    assert!(pki.pair().unwrap().is_none());
    pki.replace(&pair(1), "authority").unwrap();
    pki.replace(&pair(2), "authority").unwrap();
    let now = pki.pair().unwrap().unwrap();
    assert_eq!(
        (now.certificate, now.key),
        (pair(2).certificate, pair(2).key)
    );
    assert_eq!(names(&pki), [CA, KEY, CERTIFICATE]);
    assert_eq!(
        (mode(&pki, KEY), mode(&pki, CERTIFICATE), mode(&pki, CA)),
        (0o600, 0o644, 0o644)
    );
}

/// Wherever the change is cut short, the next command finds the old pair or the new one, never one of each.
#[test]
fn a_change_that_was_cut_short_is_finished_or_never_was() {
    // Before the rename that decides: any part of what was written.
    for written in 0..=MOVED.len() {
        let (_dir, pki) = scratch();
        pki.replace(&pair(1), "authority").unwrap();
        fs::create_dir(pki.path(UNFINISHED)).unwrap();
        for name in &MOVED[..written] {
            fs::write(pki.path(UNFINISHED).join(name), "half").unwrap();
        }
        pki.finish().unwrap();
        assert_eq!(pki.pair().unwrap().unwrap().key, "key 1");
        assert_eq!(names(&pki), [CA, KEY, CERTIFICATE]);
        // And what is left over is no hindrance to the next change.
        fs::create_dir(pki.path(UNFINISHED)).unwrap();
        pki.replace(&pair(2), "authority").unwrap();
        assert_eq!(pki.pair().unwrap().unwrap().key, "key 2");
    }
    // After it: any number of the files are in their places.
    for moved in 0..=MOVED.len() {
        let (_dir, pki) = scratch();
        pki.replace(&pair(1), "authority").unwrap();
        fs::create_dir(pki.path(NEXT)).unwrap();
        for (name, content) in MOVED.iter().zip(["authority 2", "key 2", "certificate 2"]) {
            fs::write(pki.path(NEXT).join(name), content).unwrap();
        }
        for name in &MOVED[..moved] {
            fs::rename(pki.path(NEXT).join(name), pki.path(name)).unwrap();
        }
        pki.finish().unwrap();
        let now = pki.pair().unwrap().unwrap();
        assert_eq!(
            (now.certificate, now.key),
            (pair(2).certificate, pair(2).key)
        );
        assert_eq!(pki.authority().unwrap(), "authority 2");
        assert_eq!(names(&pki), [CA, KEY, CERTIFICATE]);
    }
}

#[test]
fn the_key_to_enrol_with_is_the_same_at_every_try() {
    let (_dir, pki) = scratch();
    fs::write(pki.path(TOKEN), "t\n").unwrap();
    let first = pki.enrolment_key(|| Ok("first".into())).unwrap();
    pki.finish().unwrap();
    let again = pki.enrolment_key(|| Ok("second".into())).unwrap();
    assert_eq!((first.as_str(), again.as_str()), ("first", "first"));
    assert_eq!(mode(&pki, ENROLMENT_KEY), 0o600);
    assert_eq!(pki.token().unwrap(), "t");
    pki.forget_token().unwrap();
    pki.forget_token().unwrap();
    assert!(names(&pki).is_empty());
    // Cut short in between: the key is of no use to the next token.
    fs::write(pki.path(ENROLMENT_KEY), "left over").unwrap();
    pki.finish().unwrap();
    assert!(names(&pki).is_empty());
}

#[test]
fn what_is_missing_is_named_with_what_brings_it() {
    let (dir, pki) = scratch();
    for failure in [pki.token().unwrap_err(), pki.authority().unwrap_err()] {
        assert!(failure.is_lasting());
        let text = failure.to_string();
        assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
        assert!(text.contains("photon machine reinstall"), "{text}");
    }
    // A directory that cannot be written is not for ever.
    let gone = Pki::at(&dir.path().join("gone"));
    let failure = gone.replace(&pair(1), "authority").unwrap_err();
    assert!(
        !failure.is_lasting() && failure.to_string().contains("gone"),
        "{failure}"
    );
}
