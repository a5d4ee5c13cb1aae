use super::*;

#[test]
fn there_are_places_to_spare_and_never_more_than_the_bus_has_room_for() {
    let counts: Vec<usize> = [0, 1, 4, 5, 12, 13, 16].map(count).into();
    assert_eq!(counts, [8, 8, 8, 16, 16, 24, 24]);
}

/// As QEMU 10.0 says it: an interface of this release, one of the release before, one whose device has gone, and one of
/// another kind.
#[test]
fn taps_are_read_from_what_qemu_tells_people() {
    let text = "nic-pt0123456789a: index=0,type=nic,model=virtio-net-pci,macaddr=fa:16:3e:00:00:01\r\n \
         \\ net-pt0123456789a: index=0,type=tap,ifname=pt0123456789a,script=no,downscript=no\r\n\
         virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=fa:16:3e:00:00:02\r\n \
         \\ net0: index=0,type=tap,ifname=ptbbbbbbbbbbb,script=no,downscript=no\r\n\
         net-ptccccccccccc: index=0,type=tap,ifname=ptccccccccccc,script=no,downscript=no\r\n";
    let found = taps(text);
    let expected = [
        ("pt0123456789a", true),
        ("ptbbbbbbbbbbb", true),
        ("ptccccccccccc", false),
    ];
    assert_eq!(
        found,
        expected.map(|(tap, device)| (tap.to_owned(), device))
    );
    assert!(taps("").is_empty());
}
