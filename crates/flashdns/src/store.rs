//! What FlareDB holds of names. Every write here is a part of one transaction, which `app` commits together with its event.
//!
//! | key | holds |
//! | --- | --- |
//! | `{table}/{id}`, `{table}-name/…`, `{table}-in/…` | resources, as `photon_catalog::stored` says: tables are `zone`, `record-set`; a record set has no name that leads to it |
//! | `zone-vpc/{vpc}/{name}` | the zone of this name that the VPC's guests are answered from: created only if absent |
//! | `zone-set/{zone}/{record set}` | the record sets of a zone |
//! | `zone-users/{zone}` | written by whoever adds a record set, compared by whoever must know that there is none |
//! | `record-set-at/{zone}/{name}/{type}` | the record set of this name and type: created only if absent |

mod feed;
mod record_set;
mod zone;

pub use feed::{changed, everything};
pub use record_set::{
    record_set_create, record_set_delete, record_set_list, record_set_update, types_at,
};
pub use zone::{zone_create, zone_delete, zone_update};
