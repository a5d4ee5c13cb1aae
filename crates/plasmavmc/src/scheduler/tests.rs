use proptest::prelude::*;

use super::*;

fn host(name: &str, vcpus: u32, memory_mib: u64) -> Candidate {
    Candidate {
        name: name.into(),
        ready: true,
        total: wanted(vcpus, memory_mib),
        used: Load::default(),
        overhead: Overhead::default(),
        hypervisors: [Hypervisor::Qemu].into(),
    }
}

fn wanted(vcpus: u32, memory_mib: u64) -> Load {
    Load {
        vcpus,
        memory_mib,
        ..Load::default()
    }
}

fn times(vcpus: u32) -> Overcommit {
    Overcommit { vcpus, disk: 1 }
}

fn refusal(hosts: &[Candidate], wanted: Load, overcommit: Overcommit) -> Result<String, String> {
    let chosen = choose(hosts, wanted, Hypervisor::Qemu, overcommit);
    chosen
        .map(|found| found.name.clone())
        .map_err(|error| error.to_string())
}

#[test]
fn what_runs_a_guest_takes_memory_too() {
    let mut small = host("a", 64, 4096);
    small.overhead = Overhead {
        per_vm_mib: 224,
        per_vcpu_mib: 8,
        per_gib_mib: 32,
    };
    let vm = |memory_mib| Load {
        vms: 1,
        ..wanted(1, memory_mib)
    };
    // 64 + 2 + 224 + 8 of 4096.
    for _ in 0..13 {
        let hosts = [small.clone()];
        assert_eq!(refusal(&hosts, vm(64), times(1)), Ok("a".into()));
        small.used = small.used.and(vm(64));
    }
    let expected = "no host has room for 1 vCPUs and 64 MiB of memory: the most that is free on one is 51 vCPUs and 0 MiB";
    assert_eq!(refusal(&[small], vm(64), times(1)), Err(expected.into()));
}

#[test]
fn disks_are_promised_as_often_as_is_set_and_not_counted_where_nothing_is_said() {
    const GIB: u64 = 1 << 30;
    let vm = Load {
        vms: 1,
        disk_bytes: 20 * GIB,
        ..wanted(1, 64)
    };
    let mut told = host("a", 8, 8192);
    told.total.disk_bytes = 30 * GIB;
    told.used.disk_bytes = 15 * GIB;
    let hosts = [told];
    let twice = Overcommit { vcpus: 1, disk: 2 };
    assert_eq!(refusal(&hosts, vm, twice), Ok("a".into()));
    let expected = "no host has room for 1 vCPUs and 64 MiB of memory, with 20480 MiB of disks: the most that is free on one \
                    is 8 vCPUs and 8192 MiB, with 15360 MiB for disks";
    assert_eq!(refusal(&hosts, vm, times(1)), Err(expected.into()));
    let untold = [host("a", 8, 8192)];
    assert_eq!(refusal(&untold, vm, times(1)), Ok("a".into()));
}

#[test]
fn the_host_with_most_free_memory_is_chosen_then_by_name() {
    let mut hosts = vec![host("b", 8, 8192), host("a", 8, 8192), host("c", 8, 16384)];
    let chosen = |hosts: &[Candidate]| {
        let found = choose(hosts, wanted(1, 512), Hypervisor::Qemu, times(1)).unwrap();
        found.name.clone()
    };
    assert_eq!(chosen(&hosts), "c");
    hosts[2].used = wanted(0, 12000);
    assert_eq!(chosen(&hosts), "a");
    hosts[1].ready = false;
    assert_eq!(chosen(&hosts), "b");
}

#[test]
fn what_is_free_is_said_when_nothing_fits() {
    let mut hosts = [host("a", 4, 4096)];
    hosts[0].used = wanted(3, 1024);
    let refusal = |size, overcommit| refusal(&hosts, size, times(overcommit));
    assert_eq!(
        refusal(wanted(2, 512), 1),
        Err("no host has room for 2 vCPUs and 512 MiB of memory: the most that is free on one is 1 vCPUs and 3072 MiB".into())
    );
    assert_eq!(refusal(wanted(2, 512), 2), Ok("a".into()));
    assert!(
        refusal(wanted(1, 4000), 8)
            .unwrap_err()
            .contains("3072 MiB")
    );
}

#[test]
fn a_missing_hypervisor_and_an_unheard_host_are_told_apart() {
    let mut hosts = [host("a", 4, 4096)];
    let error = choose(&hosts, wanted(1, 64), Hypervisor::Firecracker, times(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no host offers Firecracker as hypervisor: use one of QEMU"
    );
    hosts[0].ready = false;
    let error = choose(&hosts, wanted(1, 64), Hypervisor::Qemu, times(1)).unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    let error = choose(&[], wanted(1, 64), Hypervisor::Qemu, times(1)).unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
}

/// Only an operator names a host; what else is said of hosts, tenants read.
#[test]
fn tenants_get_no_advice_that_takes_an_operator() {
    let away = [Candidate {
        ready: false,
        ..host("a", 4, 4096)
    }];
    let here = [host("a", 1, 64)];
    let size = wanted(8, 8192);
    for error in [
        choose(&[], size, Hypervisor::Qemu, times(1)),
        choose(&away, size, Hypervisor::Qemu, times(1)),
        choose(&here, size, Hypervisor::Qemu, times(1)),
        choose(&here, size, Hypervisor::Firecracker, times(1)),
    ] {
        let said = error.unwrap_err().to_string();
        for word in ["node", "agent", "ListNodes", "photon host", "journal"] {
            assert!(!said.contains(word), "{said}");
        }
    }
}

#[test]
fn a_named_host_is_taken_or_refused_with_the_others_names() {
    let hosts = [host("a", 4, 4096), host("b", 1, 512)];
    let named = |name: &str, size| {
        let found = choose_named(&hosts, name, size, Hypervisor::Qemu, times(1));
        found
            .map(|host| host.name.clone())
            .map_err(|error| error.to_string())
    };
    assert_eq!(named("b", wanted(1, 512)), Ok("b".into()));
    assert!(
        named("b", wanted(1, 1024))
            .unwrap_err()
            .contains("the most that is free on one is 1 vCPUs and 512 MiB")
    );
    assert_eq!(
        named("z", wanted(1, 64)),
        Err("node 'z' is not valid: expected one of a, b".into())
    );
}

proptest! {
    /// The choice does not depend on the order of the hosts, fits, and nothing that fits has more memory free.
    #[test]
    fn the_choice_is_the_best_that_fits(
        sizes in proptest::collection::vec((1u32..32, 64u64..65536, 0u32..40, 0u64..70000, any::<bool>()), 0..8),
        vcpus in 1u32..64, memory in 64u64..65536, overcommit in 1u32..8, turn in 0usize..8,
    ) {
        let mut hosts: Vec<Candidate> = sizes.iter().enumerate().map(|(at, (total_vcpus, total_memory, used_vcpus, used_memory, ready))| Candidate {
            used: wanted(*used_vcpus, *used_memory),
            ready: *ready,
            ..host(&format!("host-{at}"), *total_vcpus, *total_memory)
        }).collect();
        let size = wanted(vcpus, memory);
        let first = choose(&hosts, size, Hypervisor::Qemu, times(overcommit)).cloned();
        let fits = |host: &Candidate| {
            let free = host.free(vcpus, times(overcommit));
            host.ready && free.vcpus >= vcpus && free.memory_mib >= memory
        };
        match &first {
            Ok(chosen) => {
                prop_assert!(fits(chosen));
                let most = hosts.iter().filter(|host| fits(host)).map(|host| host.free(vcpus, times(overcommit)).memory_mib).max();
                prop_assert_eq!(most, Some(chosen.free(vcpus, times(overcommit)).memory_mib));
            }
            Err(_) => prop_assert!(!hosts.iter().any(fits)),
        }
        let turn = turn % hosts.len().max(1);
        hosts.rotate_left(turn);
        let again = choose(&hosts, size, Hypervisor::Qemu, times(overcommit)).cloned();
        prop_assert_eq!(first.ok().map(|host| host.name), again.ok().map(|host| host.name));
    }
}
