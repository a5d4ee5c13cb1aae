//! What a rack with PhotonCloud on it is made of: its images, its kernel and the programs of this tree, all that is not
//! there yet, made beside each other. Each has idle moments (the network, the disk, a last long object) that another
//! one fills.

use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::images::Images;
use crate::photoncloud::programs::Programs;
use crate::prerequisites;
use crate::progress::say;

/// As long as this lives, the cache keeps the images.
pub struct Prepared {
    pub programs: Programs,
    pub images: Images,
}

enum Part {
    Programs(Result<Programs>),
    Images(Result<Images>),
}

/// Makes what is missing; does nothing when nothing is.
///
/// # Errors
/// As soon as one thing cannot be made. What is still being made then ends with this process.
pub fn prepare() -> Result<Prepared> {
    prerequisites::ensure()?;
    let cache = Cache::open()?;
    let (images_made, made) = mpsc::channel();
    let programs_made = images_made.clone();
    // Whoever waits has left when another part has failed; then nobody wants this one.
    thread::spawn(move || images_made.send(Part::Images(Images::ensure(&cache))));
    thread::spawn(move || programs_made.send(Part::Programs(Programs::ensure())));
    let (mut programs, mut images) = (None, None);
    loop {
        match made.recv().context(PANICKED)? {
            Part::Programs(made) => programs = Some(made?),
            Part::Images(made) => images = Some(made?),
        }
        (programs, images) = match (programs, images) {
            (Some(programs), Some(images)) => return Ok(Prepared { programs, images }),
            one => one,
        };
    }
}

/// Images that are being made.
pub struct Making(mpsc::Receiver<Result<Images>>);

impl Making {
    /// Waits until they are there.
    pub fn wait(self) -> Result<Images> {
        self.0.recv().context(PANICKED)?
    }
}

/// Begins to make the images, and returns at once.
pub fn begin_images() -> Result<Making> {
    let cache = Cache::open()?;
    let (made, making) = mpsc::channel();
    thread::spawn(move || {
        let images = Images::ensure(&cache);
        // Whoever waits may do other things for long before.
        if let Err(error) = &images {
            say(format!("error: no images for the rack: {error:#}"));
        }
        made.send(images)
    });
    Ok(Making(making))
}

const PANICKED: &str = "the thread that makes it panicked";
