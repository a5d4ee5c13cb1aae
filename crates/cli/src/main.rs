//! photon: the command line of PhotonCloud.

fn main() {}
