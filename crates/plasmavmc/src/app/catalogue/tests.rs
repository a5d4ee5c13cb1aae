use photon_resource::{ImageId, Time};

use super::*;
use crate::model::ImageFile;

const OLD: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const NEW: &str = "1111111111111111111111111111111111111111111111111111111111111112";

fn offers(sum: &str) -> BTreeMap<String, Offer> {
    let offer = Offer {
        url: "https://example.org/debian-13.qcow2".into(),
        sha256: sum.to_uppercase(),
        description: "Debian 13".into(),
        default_user: "debian".into(),
    };
    [("debian-13".to_owned(), offer)].into()
}

fn imported(sum: &str) -> Image {
    Image {
        id: ImageId::generate(),
        scope: Scope::System,
        owner: PrincipalId::generate(),
        name: long_name("debian-13", sum),
        description: String::new(),
        format: ImageFormat::Qcow2,
        files: vec![ImageFile {
            part: ImagePart::Disk,
            sha256: sum.into(),
            size_bytes: 1,
        }],
        public: false,
        virtual_size_bytes: 1 << 30,
        kernel_command_line: String::new(),
        default_user: String::new(),
        labels: [(LABEL.to_owned(), "debian-13".to_owned())].into(),
        created_at: Time::now(),
        updated_at: Time::now(),
        revision: 1,
    }
}

fn kept(image: &Image, used: bool) -> Kept {
    let image = image.clone();
    Kept { image, used }
}

fn offered(sum: &str) -> Image {
    as_offered(&imported(sum), "debian-13", &offers(sum)["debian-13"])
}

#[test]
fn what_is_missing_is_imported_and_then_offered() {
    let name = "debian-13".to_owned();
    assert_eq!(plan(&offers(OLD), &[]), [Step::Import(name.clone())]);
    let image = imported(OLD);
    let there = [kept(&image, false)];
    assert_eq!(plan(&offers(OLD), &there), [Step::Offer(image, name)]);
    assert_eq!(plan(&offers(OLD), &[kept(&offered(OLD), true)]), []);
}

#[test]
fn another_content_takes_the_name_when_it_is_there() {
    let name = "debian-13".to_owned();
    let (old, new) = (offered(OLD), imported(NEW));
    // Until then the old one keeps it.
    let there = [kept(&old, true)];
    assert_eq!(plan(&offers(NEW), &there), [Step::Import(name.clone())]);
    let there = [kept(&old, true), kept(&new, false)];
    let (from, to) = (old.clone(), Box::new(new.clone()));
    assert_eq!(plan(&offers(NEW), &there), [Step::Switch { from, to }]);
    // One that somebody renamed has no name to give.
    let mut renamed = old;
    renamed.name = "debian-old".into();
    let there = [kept(&renamed, true), kept(&new, false)];
    let steps = [Step::Retire(renamed), Step::Offer(new, name)];
    assert_eq!(plan(&offers(NEW), &there), steps);
}

#[test]
fn what_is_retired_goes_when_nobody_uses_it() {
    let (old, new) = (imported(OLD), offered(NEW));
    let there = [kept(&old, true), kept(&new, false)];
    assert_eq!(plan(&offers(NEW), &there), []);
    let there = [kept(&old, false), kept(&new, false)];
    assert_eq!(plan(&offers(NEW), &there), [Step::Remove(old)]);
}

#[test]
fn what_the_settings_name_no_more_is_retired() {
    let image = offered(OLD);
    let none = BTreeMap::new();
    assert_eq!(plan(&none, &[kept(&image, false)]), [Step::Retire(image)]);
    let image = imported(OLD);
    assert_eq!(plan(&none, &[kept(&image, false)]), [Step::Remove(image)]);
}

#[test]
fn a_long_name_is_a_name() {
    for name in [
        "debian-13",
        &"x".repeat(63),
        &format!("{}-{}", "x".repeat(49), "y".repeat(13)),
    ] {
        let long = long_name(name, NEW);
        photon_resource::validate_resource_name("name", &long).unwrap();
        assert!(long.ends_with("-111111111111"), "{long}");
    }
}
