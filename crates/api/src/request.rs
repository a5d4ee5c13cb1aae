//! What requests of all components have in common, as traits: implemented for every message that has the fields, by
//! `tests/generated.rs` from the descriptors.

use std::collections::BTreeMap;

/// Names one resource, by id or name.
pub trait Named {
    /// `id`.
    fn id(&self) -> &str;
}

/// Says in which project; empty: the token's.
pub trait InTenant {
    /// `org_id`.
    fn org_id(&self) -> &str;
    /// `project_id`.
    fn project_id(&self) -> &str;
}

/// Changes something, once for each `request_id`.
pub trait Repeatable {
    /// `request_id`; empty: a repeated call is a new one.
    fn request_id(&self) -> &str;
}

/// Asks for a page of a list.
pub trait Paged {
    /// `page_size`; 0: the default.
    fn page_size(&self) -> u32;
    /// `page_token`; empty: the first page.
    fn page_token(&self) -> &str;
}

/// Has a name and labels: of what it makes, or to choose by.
pub trait Labelled {
    /// `name`.
    fn name(&self) -> &str;
    /// `labels`.
    fn labels(&self) -> &BTreeMap<String, String>;
}

/// Follows from a revision on.
pub trait Since {
    /// `since_revision`; 0: begin with what is there.
    fn since_revision(&self) -> u64;
}

include!("generated/requests.rs");
