//! Images and virtual machines.
