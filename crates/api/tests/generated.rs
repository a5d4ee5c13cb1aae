//! The committed code is what the proto files give.
//!
//! With `PHOTON_REGENERATE=1` this writes it anew instead of comparing.

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;

fn crate_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generate_into(out: &Path) {
    let proto = crate_dir().join("proto");
    let files = [
        "iam/v1/iam.proto",
        "prismnet/v1/prismnet.proto",
        "plasmavmc/v1/plasmavmc.proto",
        "chainfire/v1/chainfire.proto",
        "provisioner/v1/provisioner.proto",
    ];
    let descriptors = protox::Compiler::new([&proto])
        .expect("the proto directory exists")
        .include_source_info(true)
        .include_imports(true)
        .open_files(files)
        .unwrap_or_else(|error| panic!("proto files do not compile: {error:?}"))
        .file_descriptor_set();
    fs::write(out.join("photoncloud.binpb"), descriptors.encode_to_vec()).unwrap();
    tonic_prost_build::configure()
        .out_dir(out)
        .compile_fds(descriptors)
        .unwrap();
}

#[test]
fn generated_code_is_fresh() {
    let committed = crate_dir().join("src/generated");
    if std::env::var_os("PHOTON_REGENERATE").is_some() {
        generate_into(&committed);
        return;
    }
    let fresh = tempfile::tempdir().unwrap();
    generate_into(fresh.path());
    let mut stale: Vec<String> = Vec::new();
    for entry in fs::read_dir(fresh.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if fs::read(entry.path()).unwrap() != fs::read(committed.join(&name)).unwrap_or_default() {
            stale.push(name.to_string_lossy().into_owned());
        }
    }
    assert!(
        stale.is_empty(),
        "{stale:?} differ from the proto files; run PHOTON_REGENERATE=1 cargo test -p photon-api"
    );
}
