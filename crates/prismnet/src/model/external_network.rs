//! An external network: one beside the cloud, in which the cloud has addresses to give out.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use photon_resource::{
    Changes, Error, ExternalNetworkId, Labels, OrgId, PrincipalId, Time, validate_description,
    validate_labels, validate_resource_name,
};

use super::kind;

/// As many ranges as the pools of one network may have.
const MAX_RANGES: usize = 16;
/// As many addresses as they may have together: a search for a free one may look at all.
const MAX_ADDRESSES: u64 = 65_536;
/// As many organizations as one is offered to by name.
const MAX_ORGS: usize = 256;

/// A network beside the cloud. It is the cloud's own: operators make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalNetwork {
    pub id: ExternalNetworkId,
    /// Who made it.
    pub owner: PrincipalId,
    /// Unique in the cloud. Hosts with an interface in it know it by this.
    pub name: String,
    pub description: String,
    pub labels: Labels,
    pub cidr: Ipv4Net,
    /// The router of that network.
    pub gateway: Ipv4Addr,
    /// The addresses that the cloud may give out.
    pub pools: Vec<AddressRange>,
    /// Whom it is offered to; empty: all.
    pub org_ids: BTreeSet<OrgId>,
    pub created_at: Time,
    pub updated_at: Time,
    /// 1 when created, one more with every change.
    pub revision: u64,
}

/// Addresses from the first to the last, both of them included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
}

/// An external network to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewExternalNetwork {
    pub owner: PrincipalId,
    pub name: String,
    pub description: String,
    pub labels: Labels,
    pub cidr: Ipv4Net,
    pub gateway: Ipv4Addr,
    pub pools: Vec<AddressRange>,
    pub org_ids: BTreeSet<OrgId>,
}

/// What an update changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalNetworkChanges {
    pub common: Changes,
    pub pools: Option<Vec<AddressRange>>,
    pub org_ids: Option<BTreeSet<OrgId>>,
}

impl AddressRange {
    /// Reads one. Errors: `InvalidArgument` naming the field.
    pub fn parse(field: &str, first: &str, last: &str) -> Result<Self, Error> {
        let address = |end: &str, text: &str| {
            let field = format!("{field}.{end}");
            let expected = "an IPv4 address such as 203.0.113.100";
            text.parse()
                .map_err(|_| Error::invalid(field, text, expected))
        };
        let (first, last) = (address("first", first)?, address("last", last)?);
        if last < first {
            let expected = format!("an address not below {first}, the first of the range");
            return Err(Error::invalid(format!("{field}.last"), last, expected));
        }
        Ok(Self { first, last })
    }

    /// How many addresses it has.
    pub fn size(&self) -> u64 {
        u64::from(u32::from(self.last) - u32::from(self.first)) + 1
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// Whether an address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The address at this place, counted from 0.
    pub fn at(&self, index: u64) -> Option<Ipv4Addr> {
        let index = u32::try_from(index).ok()?;
        let address = Ipv4Addr::from(u32::from(self.first).checked_add(index)?);
        (address <= self.last).then_some(address)
    }
}

impl NewExternalNetwork {
    /// Reads the router's address; empty: the first host address. Errors: `InvalidArgument`.
    pub fn parse_gateway(cidr: Ipv4Net, text: &str) -> Result<Ipv4Addr, Error> {
        if text.is_empty() {
            return Ok(Ipv4Addr::from(u32::from(cidr.network()) + 1));
        }
        let gateway = text.parse().ok().filter(|it| is_host(cidr, *it));
        gateway.ok_or_else(|| {
            let expected = format!("a host address of {cidr}, or empty for the first");
            Error::invalid("gateway", text, expected)
        })
    }

    /// Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        validate_resource_name("name", &self.name)?;
        validate_description(&self.description)?;
        validate_labels(&self.labels)?;
        validate_orgs(&self.org_ids)?;
        validate_pools(self.cidr, self.gateway, &self.pools)
    }

    /// The network as it is made now.
    pub fn into_network(self, id: ExternalNetworkId) -> ExternalNetwork {
        let now = Time::now();
        ExternalNetwork {
            id,
            owner: self.owner,
            name: self.name,
            description: self.description,
            labels: self.labels,
            cidr: self.cidr,
            gateway: self.gateway,
            pools: self.pools,
            org_ids: self.org_ids,
            created_at: now,
            updated_at: now,
            revision: 1,
        }
    }
}

impl ExternalNetworkChanges {
    /// What can be said without the network. Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        self.common.validate()?;
        self.org_ids.as_ref().map_or(Ok(()), validate_orgs)
    }
}

impl ExternalNetwork {
    /// Whether an organization may have addresses of it.
    pub fn is_offered_to(&self, org: &OrgId) -> bool {
        self.org_ids.is_empty() || self.org_ids.contains(org)
    }

    /// How many addresses may be given out.
    pub fn capacity(&self) -> u64 {
        self.pools.iter().map(AddressRange::size).sum()
    }

    /// All that may be given out, in the order of the pools.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let pools = self.pools.iter();
        pools.flat_map(|pool| (0..pool.size()).filter_map(|index| pool.at(index)))
    }

    /// The address at this place of the pools, counted from 0 and round about.
    pub fn address_at(&self, index: u64) -> Option<Ipv4Addr> {
        let mut index = index % self.capacity().max(1);
        for pool in &self.pools {
            match index.checked_sub(pool.size()) {
                Some(further) => index = further,
                None => return pool.at(index),
            }
        }
        None
    }

    /// Reads an address that is asked for. Errors: `InvalidArgument` unless it is one of the pools.
    pub fn parse_address(&self, text: &str) -> Result<Ipv4Addr, Error> {
        let address: Option<Ipv4Addr> = text.parse().ok();
        let address = address.filter(|it| self.pools.iter().any(|pool| pool.contains(*it)));
        address.ok_or_else(|| {
            let pools: Vec<String> = self
                .pools
                .iter()
                .map(|AddressRange { first, last }| format!("{first} to {last}"))
                .collect();
            let expected = format!(
                "empty, or an address that external network '{}' gives out: {}",
                self.name,
                pools.join(", ")
            );
            Error::invalid("ip_address", text, expected)
        })
    }

    /// The network with validated changes: a revision newer, unless nothing has changed.
    ///
    /// Errors: `Conflict` when another revision was expected, `InvalidArgument` for pools that can't be.
    pub fn with(&self, changes: ExternalNetworkChanges) -> Result<Self, Error> {
        let ExternalNetworkChanges {
            common,
            pools,
            org_ids,
        } = changes;
        if let Some(expected) = common.expected_revision
            && expected != self.revision
        {
            return Err(Error::Conflict {
                kind: kind::EXTERNAL_NETWORKS.noun,
                id: self.name.clone(),
                expected,
                actual: self.revision,
            });
        }
        let mut after = self.clone();
        if let Some(name) = common.name {
            after.name = name;
        }
        if let Some(description) = common.description {
            after.description = description;
        }
        if let Some(labels) = common.labels {
            after.labels = labels;
        }
        if let Some(pools) = pools {
            validate_pools(self.cidr, self.gateway, &pools)?;
            after.pools = pools;
        }
        if let Some(org_ids) = org_ids {
            after.org_ids = org_ids;
        }
        if after != *self {
            after.updated_at = Time::now();
            after.revision += 1;
        }
        Ok(after)
    }
}

/// Whether a host can have this address: neither the network's own nor that of broadcasts.
fn is_host(cidr: Ipv4Net, address: Ipv4Addr) -> bool {
    cidr.contains(&address) && address != cidr.network() && address != cidr.broadcast()
}

fn validate_orgs(orgs: &BTreeSet<OrgId>) -> Result<(), Error> {
    if orgs.len() > MAX_ORGS {
        let given = format!("{} organizations", orgs.len());
        let expected = format!("at most {MAX_ORGS}, or none for all");
        return Err(Error::invalid("org_ids", given, expected));
    }
    Ok(())
}

fn validate_pools(cidr: Ipv4Net, gateway: Ipv4Addr, pools: &[AddressRange]) -> Result<(), Error> {
    if !(1..=MAX_RANGES).contains(&pools.len()) {
        let (given, expected) = (
            format!("{} ranges", pools.len()),
            format!("1 to {MAX_RANGES} ranges"),
        );
        return Err(Error::invalid("pools", given, expected));
    }
    for (index, pool) in pools.iter().enumerate() {
        let field = format!("pools[{index}]");
        let shown = format!("{} to {}", pool.first, pool.last);
        if !is_host(cidr, pool.first) || !is_host(cidr, pool.last) {
            let expected = format!("host addresses of {cidr}");
            return Err(Error::invalid(field, shown, expected));
        }
        if pool.contains(gateway) {
            let expected = format!("addresses without {gateway}, which the network's router has");
            return Err(Error::invalid(field, shown, expected));
        }
        if pools[..index].iter().any(|other| other.overlaps(pool)) {
            let expected = "addresses that are in no other range";
            return Err(Error::invalid(field, shown, expected));
        }
    }
    let all: u64 = pools.iter().map(AddressRange::size).sum();
    if all > MAX_ADDRESSES {
        let (given, expected) = (
            format!("{all} addresses"),
            format!("at most {MAX_ADDRESSES} addresses together"),
        );
        return Err(Error::invalid("pools", given, expected));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(first: &str, last: &str) -> AddressRange {
        AddressRange::parse("pools[0]", first, last).unwrap()
    }

    fn new(cidr: &str, pools: &[AddressRange]) -> NewExternalNetwork {
        let cidr: Ipv4Net = cidr.parse().unwrap();
        NewExternalNetwork {
            owner: PrincipalId::generate(),
            name: "uplink".into(),
            description: String::new(),
            labels: Labels::new(),
            cidr,
            gateway: NewExternalNetwork::parse_gateway(cidr, "").unwrap(),
            pools: pools.to_vec(),
            org_ids: BTreeSet::new(),
        }
    }

    #[test]
    fn pools_lie_in_the_network_beside_its_router() {
        new("203.0.113.0/24", &[pool("203.0.113.100", "203.0.113.199")])
            .validate()
            .unwrap();
        for (cidr, pools, text) in [
            ("203.0.113.0/24", vec![], "1 to 16 ranges"),
            (
                "203.0.113.0/24",
                vec![pool("203.0.113.1", "203.0.113.9")],
                "without 203.0.113.1",
            ),
            (
                "203.0.113.0/24",
                vec![pool("203.0.113.100", "203.0.113.255")],
                "host addresses of 203.0.113.0/24",
            ),
            (
                "203.0.113.0/24",
                vec![
                    pool("203.0.113.10", "203.0.113.19"),
                    pool("203.0.113.19", "203.0.113.29"),
                ],
                "in no other range",
            ),
            (
                "10.0.0.0/8",
                vec![pool("10.1.0.0", "10.2.0.0")],
                "at most 65536 addresses together",
            ),
        ] {
            let error = new(cidr, &pools).validate().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        let error = AddressRange::parse("pools[0]", "10.0.0.2", "10.0.0.1").unwrap_err();
        assert!(error.to_string().contains("not below 10.0.0.2"), "{error}");
    }

    #[test]
    fn every_place_of_the_pools_is_one_address() {
        let pools = [
            pool("203.0.113.10", "203.0.113.12"),
            pool("203.0.113.20", "203.0.113.20"),
        ];
        let network = new("203.0.113.0/24", &pools).into_network(ExternalNetworkId::generate());
        let all: Vec<_> = network.addresses().collect();
        assert_eq!(all.len() as u64, network.capacity());
        let by_index = (0..4).filter_map(|index| network.address_at(index));
        assert_eq!(by_index.collect::<Vec<_>>(), all);
        assert_eq!(network.address_at(4), network.address_at(0));
        assert!(network.parse_address("203.0.113.11").is_ok());
        let error = network.parse_address("203.0.113.13").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("203.0.113.10 to 203.0.113.12, 203.0.113.20"),
            "{error}"
        );
    }

    #[test]
    fn one_that_is_offered_to_some_is_offered_to_no_others() {
        let mut network = new("203.0.113.0/24", &[pool("203.0.113.9", "203.0.113.9")])
            .into_network(ExternalNetworkId::generate());
        let (acme, globex): (OrgId, OrgId) = ("acme".parse().unwrap(), "globex".parse().unwrap());
        assert!(network.is_offered_to(&acme) && network.is_offered_to(&globex));
        network.org_ids.insert(acme.clone());
        assert!(network.is_offered_to(&acme) && !network.is_offered_to(&globex));
    }
}
